"""Remove nodes that return their input unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome, describe_counts
from mmedge.graph.passes.rewiring import constant, same_shape, substitute
from mmedge.graph.provenance import all_nodes

_TO_THE_END = np.iinfo(np.int64).max


class RemoveNoOps(GraphPass):
    """Let the input stand for the output of every node that changes nothing.

    1. Always: Identity, Concat of one tensor, Transpose that keeps the order, Dropout outside
       training whose mask is unused, Pad by zero, Slice of everything.
    2. Cast and CastLike to the type that the input has.
    3. Reshape and Expand to the shape that the input has: by constant, or because both declared
       shapes have the same numbers and axis names. An unknown size is never taken as equal.
    4. Add or Sub of 0 and Mul or Div by 1, where the constant does not broadcast the input.
    5. Transpose of Transpose: removed if they cancel, else merged if nothing else uses the first.
       Reshape of Reshape: merged if nothing else uses the first and the second copies no size
       from its input.

    A graph output keeps its name: the value that stands for it is renamed. Where that is
    impossible (it is a graph input, an initializer, an outer value or another output) the node
    stays. (onnx_ir's IdentityElimination renames the other output in that case.)
    """

    def call(self, model: ir.Model) -> Outcome:
        """Remove and merge in place, in one walk in graph order."""
        removed: Counter[str] = Counter()
        merged: Counter[str] = Counter()
        for node in list(all_nodes(model)):
            if node.domain != "" or not node.inputs or node.inputs[0] is None:
                continue
            same = _equal_input(node)
            if same is not None and substitute(node.outputs[0], same):
                removed[node.op_type] += 1
            elif same is None and _merge_with_producer(node):
                merged[node.op_type] += 1
        what = [f"removed {describe_counts(removed)}"] * bool(removed)
        what += [f"merged {describe_counts(merged)} into the one before"] * bool(merged)
        return Outcome(model, bool(what), what)


def _equal_input(node: ir.Node) -> ir.Value | None:
    """The value that the first output of `node` is always equal to, or None."""
    find = _NO_OPS.get(node.op_type)
    return find(node) if find else None


def _first(node: ir.Node) -> ir.Value | None:
    return node.inputs[0]


def _concat(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _dropout(node: ir.Node) -> ir.Value | None:
    if any(mask.uses() or mask.is_graph_output() for mask in node.outputs[1:]):
        return None
    training = node.inputs[2] if len(node.inputs) > 2 else None
    is_off = training is None or _all_equal(constant(training), 0)
    return node.inputs[0] if is_off else None


def _cast(node: ir.Node) -> ir.Value | None:
    value = node.inputs[0]
    if value is None or value.dtype is None or node.attributes["to"].is_ref():
        return None
    return value if value.dtype == node.attributes["to"].as_int() else None


def _cast_like(node: ir.Node) -> ir.Value | None:
    value, like = node.inputs[0], node.inputs[1]
    if value is None or like is None or value.dtype is None:
        return None
    return value if value.dtype == like.dtype else None


def _reshape(node: ir.Node) -> ir.Value | None:
    value = node.inputs[0]
    if value is None or value.shape is None or len(node.inputs) < 2:
        return None
    if same_shape(value.shape, node.outputs[0].shape):
        return value
    target = constant(node.inputs[1])
    if target is None or target.size != len(value.shape):
        return None
    copies = node.attributes.get_int("allowzero", 0) == 0
    kept = [
        (size == 0 and copies) or size == dim
        for size, dim in zip(target.tolist(), value.shape, strict=True)
    ]
    return value if all(kept) else None


def _expand(node: ir.Node) -> ir.Value | None:
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    if same_shape(value.shape, node.outputs[0].shape):
        return value
    target = constant(node.inputs[1])
    return value if target is not None and _fits(target.tolist(), value.shape) else None


def _transpose(node: ir.Node) -> ir.Value | None:
    order = _permutation(node)
    if order is None or node.inputs[0] is None:
        return None
    if order == sorted(order):
        return node.inputs[0]
    inner = node.inputs[0].producer()
    composed = _composed(inner, order)
    return inner.inputs[0] if inner is not None and composed == sorted(order) else None


def _pad(node: ir.Node) -> ir.Value | None:
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return node.inputs[0] if _all_equal(pads, 0) else None


def _slice(node: ir.Node) -> ir.Value | None:
    value, *bounds = node.inputs
    if value is None or len(bounds) < 2:
        return None
    starts, ends = constant(bounds[0]), constant(bounds[1])
    if starts is None or ends is None or not _all_equal(starts, 0):
        return None
    if len(bounds) > 3 and bounds[3] is not None and not _all_equal(constant(bounds[3]), 1):
        return None
    axes = np.arange(ends.size)
    if len(bounds) > 2 and bounds[2] is not None:
        if (given := constant(bounds[2])) is None:
            return None
        axes = given
    covered = [
        _covers(end, axis, value.shape)
        for end, axis in zip(ends.tolist(), axes.tolist(), strict=True)
    ]
    return value if all(covered) else None


def _covers(end: int, axis: int, shape: ir.Shape | None) -> bool:
    if end == _TO_THE_END:
        return True
    size = None if shape is None else shape[axis]
    return isinstance(size, int) and end >= size


def _neutral(neutral: int, *, positions: tuple[int, ...]) -> Callable[[ir.Node], ir.Value | None]:
    """A finder for `x op neutral`, where the constant is at one of `positions`."""

    def find(node: ir.Node) -> ir.Value | None:
        for position in positions:
            value, other = node.inputs[1 - position], constant(node.inputs[position])
            if value is None or other is None or not _all_equal(other, neutral):
                continue
            if other.ndim == 0 or (value.shape is not None and _fits(other.shape, value.shape)):
                return value
        return None

    return find


def _fits(sizes: tuple[int, ...] | list[int], shape: ir.Shape) -> bool:
    """Whether a tensor of `shape` broadcast with `sizes` keeps its shape."""
    if len(sizes) > len(shape):
        return False
    trailing = list(shape)[len(shape) - len(sizes) :]
    return all(size == 1 or size == dim for size, dim in zip(sizes, trailing, strict=True))


def _all_equal(array: np.ndarray | None, number: int) -> bool:
    return array is not None and array.size > 0 and bool((array == number).all())


def _merge_with_producer(node: ir.Node) -> bool:
    """Let a Transpose or Reshape read the input of the one before it."""
    value = node.inputs[0]
    inner = value.producer() if value is not None else None
    if value is None or inner is None or inner.op_type != node.op_type or inner.domain != "":
        return False
    if len(value.uses()) != 1 or value.is_graph_output() or inner.graph is None:
        return False
    if node.op_type == "Transpose":
        composed = _composed(inner, _permutation(node))
        if composed is None:
            return False
        node.attributes["perm"] = ir.AttrInt64s("perm", composed)
    elif node.op_type != "Reshape" or not _copies_no_size(node):
        return False
    node.replace_input_with(0, inner.inputs[0])
    inner.graph.remove(inner, safe=True)
    return True


def _copies_no_size(reshape: ir.Node) -> bool:
    """Whether the result depends on the elements of the input alone, not on its shape."""
    if reshape.attributes.get_int("allowzero", 0) == 1:
        return True
    target = constant(reshape.inputs[1])
    return target is not None and bool((target != 0).all())


def _permutation(node: ir.Node | None) -> list[int] | None:
    if node is None or node.op_type != "Transpose" or node.domain != "":
        return None
    attribute = node.attributes.get("perm")
    if attribute is not None:
        return None if attribute.is_ref() else list(attribute.as_ints())
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    return list(range(len(value.shape)))[::-1]


def _composed(inner: ir.Node | None, outer: list[int] | None) -> list[int] | None:
    """The permutation that is `inner` followed by `outer`."""
    first = _permutation(inner)
    if first is None or outer is None or len(first) != len(outer):
        return None
    return [first[axis] for axis in outer]


_NO_OPS: dict[str, Callable[[ir.Node], ir.Value | None]] = {
    "Identity": _first,
    "Dropout": _dropout,
    "Concat": _concat,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Reshape": _reshape,
    "Expand": _expand,
    "Transpose": _transpose,
    "Pad": _pad,
    "Slice": _slice,
    "Add": _neutral(0, positions=(0, 1)),
    "Sub": _neutral(0, positions=(1,)),
    "Mul": _neutral(1, positions=(0, 1)),
    "Div": _neutral(1, positions=(1,)),
}
