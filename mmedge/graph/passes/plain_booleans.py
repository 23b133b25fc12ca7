"""Compute with booleans by the few operators that every engine has for them."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome, describe_counts

BOOL = ir.DataType.BOOL
# Moved as integers: operator -> its inputs that have the type of the data.
MOVED = {"Pad": (0, 2), "ScatterElements": (0, 2), "ScatterND": (0, 2)}


class PlainBooleans(GraphPass):
    """Replace comparisons and moves of booleans that TensorRT has for numbers only.

    1. Equal of booleans becomes Not(Xor).
    2. Pad, ScatterElements and ScatterND of booleans work on int32, and their result is Cast back.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Rewrite in place."""
        done: Counter[str] = Counter()
        for graph in model.graphs():
            for node in list(graph):
                if node.domain or not node.inputs or _type(node.inputs[0]) != BOOL:
                    continue
                if node.op_type == "Equal":
                    _by_logic(node)
                elif node.op_type in MOVED:
                    _as_integers(node)
                else:
                    continue
                done[node.op_type] += 1
        what = [f"rewrote booleans of {describe_counts(done)}"] if done else []
        return Outcome(model, bool(done), what)


def _type(value: ir.Value | None) -> ir.DataType | None:
    return None if value is None else value.dtype


def _by_logic(node: ir.Node) -> None:
    differ = ir.node("Xor", node.inputs)
    _put(node, [differ, ir.node("Not", differ.outputs)])


def _as_integers(node: ir.Node) -> None:
    inputs = list(node.inputs)
    before = []
    for place in MOVED[node.op_type]:
        if place < len(inputs) and inputs[place] is not None:
            cast = ir.node("Cast", [inputs[place]], {"to": ir.DataType.INT32})
            before.append(cast)
            inputs[place] = cast.outputs[0]
    moved = ir.node(node.op_type, inputs, dict(node.attributes))
    _put(node, [*before, moved, ir.node("Cast", moved.outputs, {"to": BOOL})])


def _put(old: ir.Node, nodes: list[ir.Node]) -> None:
    """Have `nodes`, the last of which makes the result, in the place of `old`."""
    result, was = nodes[-1].outputs[0], old.outputs[0]
    result.type, result.shape, result.name = was.type, was.shape, was.name
    was.name = None
    assert old.graph is not None
    old.graph.insert_before(old, nodes)
    was.replace_all_uses_with(result, replace_graph_outputs=True)
    old.graph.remove(old, safe=True)
