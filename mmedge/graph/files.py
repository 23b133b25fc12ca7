"""ONNX files: whole in one file, or with heavy weights beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmedge.tensors import TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

# A message is in memory three times while protobuf writes it, and never mapped when it is read;
# a file beside it is written tensor by tensor and mapped by us and by ONNX Runtime.
INLINE_LIMIT_BYTES = 64 << 20
# Shapes, axes and scalars stay in the graph, where shape inference and the ONNX checker see them.
SMALL_BYTES = 1024


def save_graph(model: ir.Model, path: Path) -> None:
    """Write `model`; above INLINE_LIMIT_BYTES its weights go to `<name>.data` beside it."""
    import onnx_ir as ir

    path.parent.mkdir(parents=True, exist_ok=True)
    heavy = weight_bytes(model) > INLINE_LIMIT_BYTES
    beside = path.stem + ".data" if heavy else None
    ir.save(model, path, external_data=beside, size_threshold_bytes=SMALL_BYTES)


def load_graph(path: Path) -> ir.Model:
    """The model in `path`; external weights are mapped, not read."""
    import onnx_ir as ir

    return ir.load(path)


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, subgraphs included."""
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def graph_specs(model: ir.Model) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a graph, symbolic dimensions by name."""
    graph = model.graph
    return tuple(map(_spec, graph.inputs)), tuple(map(_spec, graph.outputs))


def _spec(value: ir.Value) -> TensorSpec:
    if value.dtype is None or value.shape is None:
        raise ValueError(f"{value.name} has no dtype or no shape")
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in value.shape)
    return TensorSpec(value.name or "", value.dtype.numpy().name, shape)
