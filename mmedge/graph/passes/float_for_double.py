"""Say float32 where an engine computes in float32 anyway."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome

DOUBLE, FLOAT = ir.DataType.DOUBLE, ir.DataType.FLOAT
# Operators that name a type in an attribute.
TYPE_ATTRIBUTES = ("to", "dtype", "stash_type")


class FloatForDouble(GraphPass):
    """Compute in float32 what the graph computes in float64 between its inputs and outputs.

    TensorRT has no float64: it computes in float32 without a word, after everything was verified
    in float64. Said in the graph, verification sees what the engine will do.

    1. Constants are rounded; types in attributes and of values are changed.
    2. A graph with an input or output of float64 is left: its signature is invariant.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Rewrite in place."""
        found = [value for value in _values(model) if value.dtype == DOUBLE]
        if not found:
            return Outcome(model, False)
        ends = (*model.graph.inputs, *model.graph.outputs)
        if any(value.dtype == DOUBLE for value in ends):
            return Outcome(model, False, ["left float64: an input or output has it"])
        for graph in model.graphs():
            for value in graph.initializers.values():
                if value.dtype == DOUBLE and value.const_value is not None:
                    value.const_value = _rounded(value.const_value)
            for node in graph:
                _retype_attributes(node)
        for value in found:
            value.dtype = FLOAT
        return Outcome(model, True, [f"float32 for the float64 of {len(found)} tensors"])


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def _retype_attributes(node: ir.Node) -> None:
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == DOUBLE:
            node.attributes[name] = ir.AttrTensor(name, _rounded(attribute.as_tensor()))
        elif name in TYPE_ATTRIBUTES and attribute.value == DOUBLE:
            node.attributes[name] = ir.AttrInt64(name, FLOAT)


def _rounded(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)
