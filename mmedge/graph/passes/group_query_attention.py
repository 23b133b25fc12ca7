"""Let Attention share keys and values between query heads, instead of copying them."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome
from mmedge.graph.passes.rewiring import constant

KEY, VALUE = 1, 2
REPEATED = "its keys and values are repeated in a way that is not recognised"


class GroupQueryAttention(GraphPass):
    """Give Attention (opset 23) the keys and values that exist, not one copy for each query head.

    transformers' `repeat_kv` writes each key and value head as often as query heads share it,
    which copies the whole cache at every token. The operator does without: query head h attends
    to key head h // (query heads / key heads).

    1. Keys and values that are both Reshape(Expand(Unsqueeze(x, 2), [b, heads, n, t, d]),
       [b, heads * n, t, d]) of one n become their x's.
    2. The shapes must be known to be these: sizes that are not known are never taken as such.
    3. Attention over [batch, t, hidden] is left: its attributes say how many heads there are.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Rewrite in place; `what` counts every Attention whose keys are repeated."""
        done: Counter[str] = Counter()
        for graph in model.graphs():
            for node in graph:
                if node.op_type == "Attention" and node.domain == "":
                    done[_share(node)] += 1
        shared, left = done["shared"], done["left"]
        what = [f"shared keys and values in {shared} Attention"] * bool(shared)
        what += [f"left {left} Attention: {REPEATED}"] * bool(left)
        return Outcome(model, bool(shared), what)


def _share(attention: ir.Node) -> str:
    """ "shared", "left", or "single" where there is nothing to share."""
    key, value = attention.inputs[KEY], attention.inputs[VALUE]
    if key is None or value is None:
        return "single"
    pairs = [_unrepeated(key), _unrepeated(value)]
    if all(pair is None for pair in pairs):
        return "left" if _is_expanded(key) or _is_expanded(value) else "single"
    if pairs[0] is None or pairs[1] is None or pairs[0][1] != pairs[1][1]:
        return "left"
    for index, (source, _) in zip((KEY, VALUE), pairs, strict=True):  # type: ignore[misc]
        attention.replace_input_with(index, source)
    return "shared"


def _unrepeated(repeated: ir.Value) -> tuple[ir.Value, int] | None:
    """The heads that are repeated, and how often; None if `repeated` is not [b, heads * n, t, d]
    of a [b, heads, t, d].
    """
    expand = _producer(_input_of(repeated, "Reshape"), "Expand")
    unsqueeze = _producer(None if expand is None else expand.inputs[0], "Unsqueeze")
    if expand is None or unsqueeze is None:
        return None
    source, axes = unsqueeze.inputs[0], constant(unsqueeze.inputs[1])
    if source is None or axes is None or axes.tolist() not in ([2], [-3]):
        return None
    times = _times(source.shape, expand.outputs[0].shape, repeated.shape)
    return None if times is None else (source, times)


def _times(
    source: ir.Shape | None, expanded: ir.Shape | None, merged: ir.Shape | None
) -> int | None:
    if source is None or expanded is None or merged is None:
        return None
    if (len(source), len(expanded), len(merged)) != (4, 5, 4):
        return None
    heads, times = expanded[1], expanded[2]
    if not isinstance(heads, int) or not isinstance(times, int):
        return None
    kept = _equal(source[1], heads) and all(
        _equal(source[i], expanded[j]) for i, j in ((0, 0), (2, 3), (3, 4))
    )
    # Of sizes whose product is known, one may be unknown.
    same = sum(_equal(source[i], merged[i]) for i in (0, 2, 3)) >= 2
    return times if kept and same and merged[1] == heads * times else None


def _equal(a: int | ir.SymbolicDim, b: int | ir.SymbolicDim) -> bool:
    return a == b and (isinstance(a, int) or a.value is not None)


def _is_expanded(value: ir.Value) -> bool:
    return _producer(_input_of(value, "Reshape"), "Expand") is not None


def _input_of(value: ir.Value, op_type: str) -> ir.Value | None:
    node = _producer(value, op_type)
    return None if node is None else node.inputs[0]


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and (node.op_type, node.domain) == (op_type, "") else None
