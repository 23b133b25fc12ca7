"""Which nodes return their input unchanged. The rules are in RemoveNoOps' docstring."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from mmedge.graph.passes.rewiring import constant, same_shape
from mmedge.tensors import Array

_TO_THE_END = np.iinfo(np.int64).max


def equal_input(node: ir.Node) -> ir.Value | None:
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
    order = permutation(node)
    if order is None or node.inputs[0] is None:
        return None
    if order == sorted(order):
        return node.inputs[0]
    inner = node.inputs[0].producer()
    combined = composed(inner, order)
    return inner.inputs[0] if inner is not None and combined == sorted(order) else None


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


def _all_equal(array: Array | None, number: int) -> bool:
    return array is not None and array.size > 0 and bool((array == number).all())


def permutation(node: ir.Node | None) -> list[int] | None:
    """The order of axes of a Transpose; None for another node or where it is not known."""
    if node is None or node.op_type != "Transpose" or node.domain != "":
        return None
    attribute = node.attributes.get("perm")
    if attribute is not None:
        return None if attribute.is_ref() else list(attribute.as_ints())
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    return list(range(len(value.shape)))[::-1]


def composed(inner: ir.Node | None, outer: list[int] | None) -> list[int] | None:
    """The permutation that is `inner` followed by `outer`."""
    first = permutation(inner)
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
