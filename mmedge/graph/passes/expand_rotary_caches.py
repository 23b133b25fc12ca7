"""Give the rotations of RotaryEmbedding the batch axis that ONNX Runtime wants spelled out."""

from __future__ import annotations

import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome

ELEMENTWISE = ("Cos", "Sin", "Cast")
# Inputs of RotaryEmbedding (opset 23).
ROTATED, COSINES, SINES, POSITIONS = 0, 1, 2, 3


class ExpandRotaryCaches(GraphPass):
    """Expand cosines and sines [1, length, half] of RotaryEmbedding to the batch of its input.

    A model that counts positions once for all examples has one row of rotations for them, and
    the exporter's fusion keeps it so; ONNX Runtime (seen in 1.31, CPU) refuses it at run time.

    1. Each of the two becomes Expand(it, [batch, 1, 1]), with `batch` read from the input.
    2. Where the shape of cosines is not stated, it is that of the angles.
    3. A node with positions, which takes tables instead of rows, is left; so is one whose rows
       are not known to be one, or whose batch is known to be 1.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Rewrite in place."""
        found = [node for graph in model.graphs() for node in graph if _has_one_row(node)]
        for node in found:
            _expand(node)
        rows = "rotation" if len(found) == 1 else "rotations"
        return Outcome(model, bool(found), [f"expanded {len(found)} {rows}"] if found else [])


def _has_one_row(node: ir.Node) -> bool:
    if node.op_type != "RotaryEmbedding" or node.domain != "":
        return False
    if len(node.inputs) > POSITIONS and node.inputs[POSITIONS] is not None:
        return False
    shapes = [_shape(node.inputs[place]) for place in (ROTATED, COSINES, SINES)]
    if any(shape is None for shape in shapes):
        return False
    rotated, *caches = [list(shape or ()) for shape in shapes]
    return rotated[0] != 1 and all(len(rows) == 3 and rows[0] == 1 for rows in caches)


def _shape(value: ir.Value | None) -> ir.Shape | None:
    """The stated shape, else that of what the value is made of, element by element."""
    while value is not None and value.shape is None:
        maker = value.producer()
        value = maker.inputs[0] if maker is not None and maker.op_type in ELEMENTWISE else None
    return None if value is None else value.shape


def _expand(node: ir.Node) -> None:
    rotated = node.inputs[ROTATED]
    assert rotated is not None
    assert rotated.shape is not None
    assert node.graph is not None
    batch = ir.node("Shape", [rotated], {"start": 0, "end": 1})
    ones = ir.node("Constant", [], {"value": ir.tensor([1, 1], dtype=ir.DataType.INT64)})
    target = ir.node("Concat", [batch.outputs[0], ones.outputs[0]], {"axis": 0})
    node.graph.insert_before(node, [batch, ones, target])
    for place in (COSINES, SINES):
        rows = node.inputs[place]
        shape = _shape(rows)
        assert shape is not None
        expand = ir.node("Expand", [rows, target.outputs[0]])
        expand.outputs[0].type = rotated.type
        expand.outputs[0].shape = ir.Shape([rotated.shape[0], *shape[1:]])
        node.graph.insert_before(node, [expand])
        node.replace_input_with(place, expand.outputs[0])
