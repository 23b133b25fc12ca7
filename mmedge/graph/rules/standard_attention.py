"""The standard operator `Attention` (opset 23 and later)."""

from __future__ import annotations

import math

import onnx_ir as ir

from mmedge.graph.rules.attention_form import AttentionForm, Unrecognised, known, rank

WRITTEN = "Attention operator"
QUERY, KEY, VALUE, MASK, PAST = 0, 1, 2, 3, 4


def standard_attention(node: ir.Node) -> AttentionForm | Unrecognised | None:
    """None where `node` is something else.

    Over [batch, heads, rows, size] or [batch, rows, heads * size]. Left are those with a past, with
    softcap, with a second result, and those whose heads are not known.
    """
    if node.op_type != "Attention" or node.domain != "":
        return None
    why = _refusal(node)
    if why:
        return Unrecognised(node, WRITTEN, why)
    query, key, value = (node.inputs[index] for index in (QUERY, KEY, VALUE))
    assert query is not None
    assert key is not None
    assert value is not None
    merged = rank(query) == 3
    heads = _heads(node, merged=merged)
    width = known(query, -1)
    if None in heads or width is None:
        return Unrecognised(node, WRITTEN, "its number of heads or their size is not known")
    own, shared = heads
    assert own is not None
    assert shared is not None
    size = width // own if merged else width
    if known(value, -1) != (shared * size if merged else size):
        return Unrecognised(node, WRITTEN, "heads of values are not of the size of the queries'")
    return AttentionForm(
        node,
        query,
        key,
        value,
        heads=(own, shared),
        size=size,
        scale=_number(node, "scale") or 1 / math.sqrt(size),
        mask=node.inputs[MASK] if len(node.inputs) > MASK else None,
        causal=bool(_number(node, "is_causal")),
        merged=merged,
        written=WRITTEN,
    )


def _refusal(node: ir.Node) -> str | None:
    if any(value is not None for value in node.inputs[PAST:]):
        return "it joins the past and the new tokens itself; the kernel reads one tensor of keys"
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "more than its result is used"
    if _number(node, "softcap"):
        return "its scores are capped (softcap), which the kernel does not do"
    if rank(node.inputs[QUERY]) not in (3, 4):
        return "the number of axes of its queries is not known"
    return None


def _heads(node: ir.Node, *, merged: bool) -> tuple[int | None, int | None]:
    if not merged:
        return known(node.inputs[QUERY], 1), known(node.inputs[KEY], 1)
    own, shared = (_number(node, name) for name in ("q_num_heads", "kv_num_heads"))
    return (int(own) if own else None), (int(shared) if shared else None)


def _number(node: ir.Node, name: str) -> float | None:
    attribute = node.attributes.get(name)
    return None if attribute is None else float(attribute.value)
