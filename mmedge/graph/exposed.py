"""A graph run for the values inside it, as it stands: nothing fused, no memory kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir

from mmedge.errors import GraphError
from mmedge.graph.files import load_graph
from mmedge.optional import require
from mmedge.placing import place
from mmedge.tensors import Array

ERRORS_ONLY = 4


class Exposed:
    """A session whose outputs are the named values of a graph."""

    def __init__(self, session: Any, names: Sequence[str], graph: Path) -> None:
        self._session, self._names, self._graph = session, list(names), graph
        self._inputs = [item.name for item in session.get_inputs()]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Name -> what it holds on these inputs. Raises GraphError where the graph does not run."""
        try:
            found = self._session.run(self._names, {n: feeds[n] for n in self._inputs})
        except Exception as error:
            raise _failure(self._graph, error) from error
        return dict(zip(self._names, found, strict=True))


@contextmanager
def exposed(graph: Path, names: Sequence[str]) -> Iterator[Exposed]:
    """The graph at that path with `names` as its outputs, whatever they were."""
    model = load_graph(graph)
    values = {v.name: v for node in model.graph for v in node.outputs}
    values |= {v.name: v for v in model.graph.inputs}
    model.graph.outputs[:] = [_output(values[name]) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, graph.name)
        weights = graph.with_suffix(".data")
        if weights.is_file():
            place(weights, path.with_suffix(".data"))
        path.write_bytes(ir.to_proto(model).SerializeToString())
        try:
            session = _open(path)
        except Exception as error:
            raise _failure(graph, error) from error
        yield Exposed(session, names, graph)


def _output(value: ir.Value) -> ir.Value:
    """An output has to have a type; passes leave some values without one."""
    value.dtype = value.dtype or ir.DataType.FLOAT
    return value


def _open(path: Path) -> Any:
    ort = require("onnxruntime", purpose="looking at the values inside a graph")
    options = ort.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = False
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _failure(graph: Path, error: Exception) -> GraphError:
    return GraphError(
        "the graph does not run, so that what is inside is not known", found=error, where=graph
    )
