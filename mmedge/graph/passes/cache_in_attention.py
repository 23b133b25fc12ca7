"""Let Attention itself join the past with the new keys and values."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome

QUERY, KEY, VALUE, MASK = range(4)
# past_key and past_value come after the mask; present_key and present_value after the result.
WITHOUT_PAST = MASK + 1


class CacheInAttention(GraphPass):
    """Replace Concat of past and new keys and values by the past inputs of Attention (opset 23).

    ONNX Runtime then writes the joined tensor once, where it reads it; a Concat before the
    operator is one more pass over the cache.

    1. Keys and values must both be Concat(past, new) along the axis of length, of rank 4.
    2. The joined tensors become the outputs present_key and present_value, and keep their names.
    3. Left are joined tensors that anything else reads, for it may come before the Attention;
       and causal Attention, whose diagonal a past would move.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Rewrite in place; `what` counts every Attention that follows a Concat."""
        done: Counter[str] = Counter()
        for graph in model.graphs():
            for node in list(graph):
                if node.op_type == "Attention" and node.domain == "":
                    done[_absorb(node)] += 1
        moved = done.pop("moved", 0)
        done.pop("no cache", 0)
        what = [f"moved the past into {moved} Attention"] * bool(moved)
        what += [f"left {count} Attention: {reason}" for reason, count in done.items()]
        return Outcome(model, bool(moved), what)


def _absorb(attention: ir.Node) -> str:
    """ "moved", "no cache", or why it was left."""
    joins = [_join(attention.inputs[index]) for index in (KEY, VALUE)]
    if joins[0] is None or joins[1] is None:
        return "no cache"
    reason = _obstacle(attention, joins[0], joins[1])
    if reason:
        return reason
    _replace(attention, joins[0], joins[1])
    return "moved"


def _join(value: ir.Value | None) -> ir.Node | None:
    """The Concat of two tensors along the axis of length that makes `value`."""
    node = None if value is None else value.producer()
    if node is None or (node.op_type, node.domain) != ("Concat", "") or len(node.inputs) != 2:
        return None
    rank = None if value is None or value.shape is None else len(value.shape)
    axis = node.attributes.get_int("axis", 0)
    return node if rank == 4 and axis in (2, -2) else None


def _obstacle(attention: ir.Node, *joins: ir.Node) -> str:
    if attention.attributes.get_int("is_causal", 0):
        return "it is causal by itself"
    if any(value is not None for value in attention.inputs[WITHOUT_PAST:]):
        return "it has a past already"
    if any(value.uses() or value.is_graph_output() for value in attention.outputs[1:]):
        return "its other outputs are used"
    if any(len(join.outputs[0].uses()) != 1 for join in joins) or joins[0] is joins[1]:
        return "something else reads the joined keys or values"
    return ""


def _replace(attention: ir.Node, keys: ir.Node, values: ir.Node) -> None:
    graph = attention.graph
    assert graph is not None
    given = [*attention.inputs[:WITHOUT_PAST], None][:WITHOUT_PAST]
    given[KEY], given[VALUE] = keys.inputs[1], values.inputs[1]
    old = [attention.outputs[0], keys.outputs[0], values.outputs[0]]
    node = ir.node(
        "Attention",
        [*given, keys.inputs[0], values.inputs[0]],
        attributes=dict(attention.attributes),
        num_outputs=3,
        name=attention.name,
        metadata_props=dict(attention.metadata_props),
    )
    for before, after in zip(old, node.outputs, strict=True):
        after.type, after.shape = before.type, before.shape
        after.name, before.name = before.name, None
    graph.insert_before(attention, node)
    for before, after in zip(old, node.outputs, strict=True):
        before.replace_all_uses_with(after, replace_graph_outputs=True)
    graph.remove([attention, keys, values], safe=True)
