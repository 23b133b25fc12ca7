"""Attention that a model spells out: product, scale, mask, softmax, product."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

from mmedge.graph.passes.rewiring import constant
from mmedge.graph.rules.attention_form import (
    AttentionForm,
    Unrecognised,
    known,
    made_by,
    only_user,
    permutation,
    rank,
)

# Scores are masked with the lowest number of their type or with -inf; below this a key is hidden.
HIDES = -1e4
WRITTEN = "product, softmax, product"
SWAPPED = (0, 1, 3, 2)


@dataclass(frozen=True)
class _Scores:
    """Products of queries and keys, scaled; and what is added to them."""

    product: ir.Node
    scale: float
    mask: ir.Value | None
    mask_hides: bool = False
    also: tuple[ir.Value, ...] = ()


def softmax_attention(node: ir.Node) -> AttentionForm | Unrecognised | None:
    """Of a Softmax over the products of two computed things that weighs a third; else None.

    Scales may stand before, after, or on both sides of the product, as Mul or Div; the softmax may
    be between casts; masks are added, or chosen by Where.
    """
    product = _weighed(node)
    if product is None:
        return None
    scores = _best(_scores(node.inputs[0]), known(product.inputs[1], -1))
    if scores is None:
        return Unrecognised(node, WRITTEN, "what its softmax takes is more than scaled products")
    query, left = _unscaled(scores.product.inputs[0])
    key, right = _unscaled(scores.product.inputs[1])
    value = product.inputs[1]
    assert value is not None
    if rank(query) != 4 or rank(key) != 4 or rank(value) != 4:
        why = "its queries, keys and values are not [batch, heads, rows, size]"
        return Unrecognised(product, WRITTEN, why)
    own, size, wide = known(query, 1), known(query, 3), known(value, 3)
    if own is None or size is None:
        why = "its number of heads or their size is not known"
        return Unrecognised(product, WRITTEN, why)
    if wide != size:
        why = f"heads of values have size {wide}, those of queries {size}"
        return Unrecognised(product, WRITTEN, why)
    scale = scores.scale * left * right
    if not scale > 0:
        return Unrecognised(product, WRITTEN, f"its products are scaled by {scale}")
    return AttentionForm(
        product,
        query,
        key,
        value,
        heads=(own, own),
        size=size,
        scale=scale,
        mask=scores.mask,
        mask_hides=scores.mask_hides,
        also=scores.also,
        key_transposed=True,
        written=WRITTEN,
    )


def _weighed(softmax: ir.Node) -> ir.Node | None:
    """The product of what the softmax makes, if it is one of two computed things."""
    if softmax.op_type != "Softmax" or softmax.domain != "":
        return None
    axis = softmax.attributes.get("axis")
    axes = rank(softmax.inputs[0])
    if axis is not None and axis.as_int() not in (-1, (axes or 0) - 1):
        return None
    made = softmax.outputs[0]
    while (cast := only_user(made, "Cast", "Identity", "Dropout")) is not None:
        made = cast.outputs[0]
    product = only_user(made, "MatMul")
    if product is None or product.inputs[0] is not made or constant(product.inputs[1]) is not None:
        return None
    return product


def _scores(value: ir.Value | None, scale: float = 1.0) -> Iterator[_Scores]:
    """Every reading of `value` as scale * (product + mask): of a sum, each term may be the product.

    scale: by which everything that is found is multiplied afterwards.
    """
    node = made_by(value, "Cast", "Identity", "Add", "Mul", "Div", "Where", "MatMul")
    if node is None:
        return
    if node.op_type == "MatMul":
        if all(constant(operand) is None for operand in node.inputs):
            yield _Scores(node, scale, None)
    elif node.op_type == "Add":
        # A mask inside of a scale would have to be scaled too.
        if scale == 1.0:
            yield from _summands(node)
    elif node.op_type == "Where":
        yield from _chosen(node, scale)
    elif node.op_type in ("Mul", "Div"):
        inner, factor = _scaled(node)
        if inner is not None:
            yield from _scores(inner, scale * factor)
    else:
        yield from _scores(node.inputs[0], scale)


def _summands(add: ir.Node) -> Iterator[_Scores]:
    for index in (0, 1):
        other = add.inputs[1 - index]
        if other is None:
            continue
        for found in _scores(add.inputs[index]):
            if found.mask is None:
                yield replace(found, mask=other)
            else:
                yield replace(found, also=(*found.also, other))


def _chosen(where: ir.Node, scale: float) -> Iterator[_Scores]:
    """Scores where a mask is true, or where it is not, and something very low elsewhere."""
    mask = where.inputs[0]
    for index in (1, 2):
        low = constant(where.inputs[3 - index])
        if low is None or not (low * scale < HIDES).all():
            continue
        for found in _scores(where.inputs[index], scale):
            if found.mask is None or found.mask.dtype != ir.DataType.BOOL:
                also = found.also if found.mask is None else (*found.also, found.mask)
                yield replace(found, mask=mask, mask_hides=index == 2, also=also)


def _best(found: Iterator[_Scores], size: int | None) -> _Scores | None:
    """That of heads of this size: where a sum has two products, the other one is the bias."""
    return max(found, key=lambda s: known(s.product.inputs[0], -1) == size, default=None)


def _unscaled(value: ir.Value | None) -> tuple[ir.Value, float]:
    """What is multiplied with numbers, and by what."""
    assert value is not None
    scale = 1.0
    while (node := made_by(value, "Mul", "Div")) is not None:
        inner, factor = _scaled(node)
        if inner is None:
            break
        value, scale = inner, scale * factor
    return value, scale


def _scaled(node: ir.Node) -> tuple[ir.Value | None, float]:
    """(x, factor) of x * number, number * x or x / number; (None, 1) of anything else."""
    for index in (0, 1) if node.op_type == "Mul" else (1,):
        number = constant(node.inputs[index])
        if number is not None and number.size == 1:
            factor = float(number.reshape(()))
            if factor == 0:
                return None, 1.0
            return node.inputs[1 - index], (factor if node.op_type == "Mul" else 1 / factor)
    return None, 1.0


def untransposed(key: ir.Value) -> tuple[ir.Value, tuple[int, ...]] | None:
    """Of keys [batch, heads, size, rows]: what they are a Transpose of, and its permutation.

    PyTorch's exporter writes the swap of the last two axes, for opsets without Attention, between
    two Reshapes to three axes and back.
    """
    node = made_by(key, "Transpose")
    if node is not None and node.inputs[0] is not None:
        return node.inputs[0], permutation(node)
    outer = made_by(key, "Reshape")
    swap = made_by(None if outer is None else outer.inputs[0], "Transpose")
    inner = made_by(None if swap is None else swap.inputs[0], "Reshape")
    if swap is None or inner is None or permutation(swap) != (0, 2, 1):
        return None
    source = inner.inputs[0]
    if source is None or rank(source) != 4 or not _keeps_last_two(inner, source):
        return None
    return source, SWAPPED


def _keeps_last_two(reshape: ir.Node, source: ir.Value) -> bool:
    """Whether [a, b, c, d] becomes [-1, c, d], by numbers or by sizes read from it."""
    target = constant(reshape.inputs[1])
    if target is not None:
        sizes = [known(source, axis) for axis in (2, 3)]
        return len(target) == 3 and None not in sizes and target[1:].tolist() == sizes
    joined = made_by(reshape.inputs[1], "Concat")
    if joined is None or len(joined.inputs) != 3:
        return False
    return all(
        _is_size(part, source, axis) for part, axis in zip(joined.inputs[1:], (2, 3), strict=True)
    )


def _is_size(value: ir.Value | None, source: ir.Value, axis: int) -> bool:
    """Whether `value` is [the size of one axis of source]."""
    number = constant(value)
    if number is not None:
        return bool(number.reshape(-1).tolist() == [known(source, axis)])
    node = made_by(value, "Slice", "Shape")
    if node is None:
        return False
    if node.op_type == "Shape":
        first, last = (node.attributes.get(name) for name in ("start", "end"))
        start = 0 if first is None else first.as_int()
        stop = 4 if last is None else last.as_int()
        return node.inputs[0] is source and _only(axis, start, stop)
    shape = made_by(node.inputs[0], "Shape")
    first_number, last_number = (constant(bound) for bound in node.inputs[1:3])
    whole = shape is not None and shape.inputs[0] is source
    if not whole or first_number is None or last_number is None:
        return False
    return _only(axis, int(first_number.reshape(-1)[0]), int(last_number.reshape(-1)[0]))


def _only(axis: int, start: int, stop: int) -> bool:
    """Whether a slice of four is this one axis."""
    return list(range(4))[start:stop] == [axis]
