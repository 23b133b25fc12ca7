"""The promises that every pass is held to: same signature, valid ONNX, same outputs."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from mmedge.errors import GraphError
from mmedge.optional import require
from mmedge.tensors import Array

# A pass may reorder float arithmetic, no more. Relative to the largest magnitude in the output:
# some 100 roundings of float32 (eps 1.2e-7) and 4 of float16 (eps 9.8e-4).
RELATIVE_TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 4e-3}

# protobuf refuses to serialise 2 GiB; leave room for the nodes.
_MAX_PROTO_BYTES = 2**30


@dataclasses.dataclass(frozen=True)
class Signature:
    """A graph's inputs and outputs, as (name, dtype, shape) in order."""

    inputs: tuple[tuple[str, str, str], ...]
    outputs: tuple[tuple[str, str, str], ...]
    output_shapes: tuple[ir.Shape | None, ...]

    @classmethod
    def of(cls, model: ir.Model) -> Signature:
        """The signature that `model` has now."""
        graph = model.graph
        return cls(
            inputs=tuple(map(_declared, graph.inputs)),
            outputs=tuple(map(_declared, graph.outputs)),
            output_shapes=tuple(v.shape.copy() if v.shape else v.shape for v in graph.outputs),
        )

    def restore_output_shapes(self, model: ir.Model) -> None:
        """Declare the outputs' shapes again: a pass that rewires an output may lose the names."""
        values = model.graph.outputs
        if len(values) == len(self.output_shapes):
            for value, shape in zip(values, self.output_shapes, strict=True):
                value.shape = shape.copy() if shape else shape

    def check(self, model: ir.Model, *, drops_inputs: bool, where: str) -> None:
        """Raise GraphError unless `model` still has this signature.

        With `drops_inputs`, inputs may be missing; those that are left keep their order.
        """
        now = Signature.of(model)
        expected = self.inputs
        if drops_inputs:
            expected = tuple(value for value in self.inputs if value in now.inputs)
        if now.inputs != expected:
            raise _signature_error("inputs", now.inputs, expected, where)
        if now.outputs != self.outputs:
            raise _signature_error("outputs", now.outputs, self.outputs, where)


def check_onnx(model: ir.Model, *, where: str) -> None:
    """Raise GraphError unless the ONNX checker accepts `model`; weights are not serialised."""
    from onnx_ir.passes.common import CheckerPass

    try:
        CheckerPass()(model)
    except Exception as error:
        raise GraphError(
            f"graph pass {where} produced an invalid ONNX graph", found=error, where=where
        ) from error


def run_outputs(model: ir.Model, feeds: Mapping[str, Array], *, where: str) -> dict[str, Array]:
    """Output name -> array, from ONNX Runtime on the CPU with graph optimisation disabled.

    Feeds for inputs that the graph no longer has are ignored.
    """
    inputs = {value.name for value in model.graph.inputs}
    wanted = {name: array for name, array in feeds.items() if name in inputs}
    try:
        with tempfile.TemporaryDirectory() as folder:
            session = _open(model, Path(folder))
            names = [output.name for output in session.get_outputs()]
            return dict(zip(names, session.run(names, wanted), strict=True))
    except Exception as error:
        raise GraphError(
            f"the graph does not run {where}",
            found=error,
            expected=f"feeds for {', '.join(str(value.name) for value in model.graph.inputs)}",
            where=where,
        ) from error


def check_outputs(before: Mapping[str, Array], after: Mapping[str, Array], *, where: str) -> float:
    """The largest absolute difference; GraphError names the first output that differs.

    Integers and booleans must be equal. Floats may differ by RELATIVE_TOLERANCE of the largest
    finite magnitude in the output; infinities and NaN must be in the same places.
    """
    largest = 0.0
    for name, expected in before.items():
        found = after[name]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise GraphError(
                f"graph pass {where} changed output {name!r}",
                found=f"{found.dtype}{list(found.shape)}",
                expected=f"{expected.dtype}{list(expected.shape)}",
                where=where,
            )
        difference, allowed = _difference(expected, found)
        if not difference <= allowed:
            raise GraphError(
                f"graph pass {where} changed the values of output {name!r}",
                found=f"a largest difference of {difference:.3g}",
                expected=f"at most {allowed:.3g}",
                where=where,
                hint="run the passes without it, and report the graph",
            )
        largest = max(largest, difference)
    return largest


def _difference(expected: Array, found: Array) -> tuple[float, float]:
    """(largest difference, largest allowed); infinity where the values are not comparable."""
    if expected.dtype.name not in RELATIVE_TOLERANCE:
        return (0.0 if np.array_equal(expected, found) else float("inf")), 0.0
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], found[~finite], equal_nan=True):
        return float("inf"), 0.0
    want, have = expected[finite].astype(np.float64), found[finite].astype(np.float64)
    if want.size == 0:
        return 0.0, 0.0
    allowed = RELATIVE_TOLERANCE[expected.dtype.name] * float(np.abs(want).max())
    # A non-finite value where a finite one was expected is a difference of infinity.
    difference = np.nan_to_num(np.abs(want - have), nan=np.inf, posinf=np.inf)
    return float(difference.max()), allowed


def _open(model: ir.Model, folder: Path) -> Any:
    ort = require("onnxruntime", purpose="checking graph passes")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    weights = [v.const_value for g in model.graphs() for v in g.initializers.values()]
    heavy = sum(tensor.nbytes for tensor in weights if tensor is not None) > _MAX_PROTO_BYTES
    source: bytes | str
    if heavy or any(isinstance(tensor, ir.ExternalTensor) for tensor in weights):
        source = str(folder / "model.onnx")
        ir.save(model, source, external_data="model.onnx.data")
    else:
        source = ir.to_proto(model).SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _declared(value: ir.Value) -> tuple[str, str, str]:
    return str(value.name), str(value.dtype), str(value.shape)


def _signature_error(
    kind: str,
    found: tuple[tuple[str, str, str], ...],
    expected: tuple[tuple[str, str, str], ...],
    where: str,
) -> GraphError:
    def lay_out(values: tuple[tuple[str, str, str], ...]) -> str:
        return "\n".join(" ".join(value) for value in values) or "none"

    return GraphError(
        f"graph pass {where} changed the graph's {kind}",
        found=lay_out(found),
        expected=lay_out(expected),
        where=where,
    )
