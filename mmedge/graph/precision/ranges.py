"""What every value of a graph holds on real inputs, found by running it in float32."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from mmedge.errors import GraphError
from mmedge.graph.files import load_graph
from mmedge.graph.precision.decide import Seen, constant_tensor
from mmedge.graph.precision.formats import STANDS_FOR_MINUS_INFINITY
from mmedge.graph.precision.operator_types import is_float32
from mmedge.optional import require
from mmedge.placing import place
from mmedge.tensors import Array

# Values looked at in one session: each is reduced to two numbers as soon as it is made, but the
# order in which ONNX Runtime does so is its own, and in the worst case keeps all of them.
VALUES_AT_ONCE = 256
ERRORS_ONLY = 4


def measure_ranges(graph: Path, feeds: Sequence[Mapping[str, Array]]) -> dict[str, Seen]:
    """Name -> what it held in any of the runs, for every float32 value of the main graph.

    feeds: the graph's inputs, for each run. Raises GraphError where the graph does not run.
    """
    found: dict[str, Seen] = {}
    names = [str(value.name) for value in _values(load_graph(graph))]
    for start in range(0, len(names), VALUES_AT_ONCE):
        with _observed(graph, names[start : start + VALUES_AT_ONCE]) as session:
            for name, seen in session.run(feeds):
                found[name] = _joined(found.get(name), seen)
    return found


def _values(model: ir.Model) -> Iterator[ir.Value]:
    made = (value for node in model.graph for value in node.outputs)
    for value in (*model.graph.inputs, *made):
        if is_float32(value) and constant_tensor(value) is None and value.name:
            yield value


def _joined(first: Seen | None, second: Seen) -> Seen:
    if first is None:
        return second
    # NaN stays: a value that is not a number fits no format.
    largest = float(np.maximum(first.largest, second.largest))
    return Seen(largest, float(np.fmin(first.lowest, second.lowest)))


class _observed:  # noqa: N801  (used as a function: a context manager)
    """A session of the graph that gives what some values held, and nothing else."""

    def __init__(self, graph: Path, names: list[str]) -> None:
        self._graph = graph
        self._names = names
        self._folder = tempfile.TemporaryDirectory()
        self._session: Any = None

    def __enter__(self) -> _observed:
        path = Path(self._folder.name, self._graph.name)
        model = load_graph(self._graph)
        _observe(model, set(self._names))
        weights = self._graph.with_suffix(".data")
        if weights.is_file():
            place(weights, path.with_suffix(".data"))
        path.write_bytes(ir.to_proto(model).SerializeToString())
        try:
            self._session = _open(path)
        except Exception as error:
            self._folder.cleanup()
            raise self._failure(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._session = None
        self._folder.cleanup()

    def run(self, feeds: Sequence[Mapping[str, Array]]) -> Iterator[tuple[str, Seen]]:
        """What each value held, run by run."""
        wanted = [item.name for item in self._session.get_inputs()]
        for given in feeds:
            try:
                largest, lowest = self._session.run(None, {name: given[name] for name in wanted})
            except Exception as error:
                raise self._failure(error) from error
            for name, high, low in zip(self._names, largest, lowest, strict=True):
                # An empty tensor holds nothing: its maximum is minus infinity.
                yield name, Seen(max(float(high), 0.0) if high == high else np.inf, float(low))

    def _failure(self, error: Exception) -> GraphError:
        return GraphError(
            "the graph does not run in float32, so that its range is not known",
            found=error,
            where=self._graph,
        )


def _observe(model: ir.Model, names: set[str]) -> None:
    """Let the graph's outputs be, for all named values, the largest magnitudes and the lowest.

    What stands for minus infinity does not count as a magnitude.
    """
    graph = model.graph
    limit = _number(graph, "mmedge.limit", STANDS_FOR_MINUS_INFINITY)
    zero = _number(graph, "mmedge.zero", 0.0)
    shape = _constant(graph, "mmedge.one", np.array([1], np.int64))
    largest: list[ir.Value] = []
    lowest: list[ir.Value] = []
    nodes: list[ir.Node] = []

    def step(operator: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        nodes.append(ir.node(operator, inputs, attributes))
        made = nodes[-1].outputs[0]
        made.name = f"mmedge.observed.{len(nodes)}"
        return made

    for value in [value for value in _values(model) if value.name in names]:
        masked = step("LessOrEqual", value, limit)
        size = step("Abs", step("Where", masked, zero, value))
        for found, reduced in (
            (largest, step("ReduceMax", size, keepdims=0)),
            (lowest, step("ReduceMin", value, keepdims=0)),
        ):
            found.append(step("Reshape", reduced, shape))
    ends = [step("Concat", *largest, axis=0), step("Concat", *lowest, axis=0)]
    for end in ends:
        end.dtype, end.shape = ir.DataType.FLOAT, ir.Shape([len(names)])
    graph.extend(nodes)
    graph.outputs[:] = ends


def _number(graph: ir.Graph, name: str, number: float) -> ir.Value:
    return _constant(graph, name, np.array(number, np.float32))


def _constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def _open(path: Path) -> Any:
    ort = require("onnxruntime", purpose="measuring the range of values")
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    # No fusion: every value is wanted. No arena: the memory of a run goes back after it.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = False
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
