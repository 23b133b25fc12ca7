"""Every attention of a graph, and whether one operator computes it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import onnx_ir as ir

from mmedge.graph.passes.rewiring import constant
from mmedge.graph.provenance import all_nodes, module_path

QUERY, KEY, PAST_KEY = 0, 1, 4
FIRST_OPSET = 23
# What may stand between the softmax and the product with the values.
BETWEEN = frozenset({"Cast", "Dropout", "Identity", "Mul", "Reshape", "Where"})


class AttentionBlock(msgspec.Struct, frozen=True):
    """One attention, by the module it came from; treatment: "fused" or "left"."""

    module: str
    treatment: str
    why: str


def attention_blocks(model: ir.Model) -> list[AttentionBlock]:
    """Every Attention operator, and every softmax that weighs what a matrix product made."""
    opset = model.opset_imports.get("", 0)
    found = []
    for node in all_nodes(model):
        if node.domain == "" and node.op_type == "Attention":
            found.append(AttentionBlock(module_path(node), "fused", _form(node)))
        elif node.domain == "" and node.op_type == "Softmax" and _weighs(node):
            found.append(AttentionBlock(module_path(node), "left", _reason(opset)))
    return found


def _form(attention: ir.Node) -> str:
    said = ["one Attention operator"]
    query, key = (attention.inputs[index] for index in (QUERY, KEY))
    heads = [_heads(value) for value in (query, key)]
    if None not in heads and heads[0] != heads[1]:
        said.append(f"{heads[0]} query heads share {heads[1]} of keys and values")
    if len(attention.inputs) > PAST_KEY and attention.inputs[PAST_KEY] is not None:
        said.append("it joins the past and the new tokens itself")
    return "; ".join(said)


def _heads(value: ir.Value | None) -> int | None:
    if value is None or value.shape is None or len(value.shape) != 4:
        return None
    return value.shape[1] if isinstance(value.shape[1], int) else None


def _reason(opset: int) -> str:
    if opset < FIRST_OPSET:
        return f"opset {opset} has no Attention operator; it came with {FIRST_OPSET}"
    return "the model itself multiplies, takes the softmax and multiplies again"


def _weighs(softmax: ir.Node) -> bool:
    """Whether what the softmax makes is multiplied with something that is not a weight."""
    return any(
        node.op_type == "MatMul" and all(constant(value) is None for value in node.inputs)
        for node in _consumers(softmax)
    )


def _consumers(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.outputs:
        for user, _ in value.uses():
            if user.op_type in BETWEEN:
                yield from _consumers(user)
            else:
                yield user
