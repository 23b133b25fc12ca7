"""What a mask says: which part of it is causality, which are lengths, and what is left."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from mmedge.graph.passes.rewiring import constant
from mmedge.graph.rules.attention_form import known, made_by, rank
from mmedge.tensors import Array

# Scores of float16 attentions are masked with its lowest number; anything below hides a key.
HIDES = -1e4
KEY_AXIS = -1


@dataclass(frozen=True)
class MaskMeaning:
    """The parts of a mask, all of which a key must pass to be seen.

    causal: query i sees keys 0 .. i. lengths: [batch, 1, 1, 1] or so, integers; a row sees the keys
    before its own. rest: boolean, what is neither; () where the two above say all of it.
    """

    causal: bool = False
    lengths: ir.Value | None = None
    rest: tuple[ir.Value, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether nothing is left that needs a bias."""
        return not self.rest


def meaning(mask: ir.Value) -> MaskMeaning | None:
    """What a boolean mask, or one made of booleans, says; None of any other additive bias."""
    visible = _visible(mask)
    if visible is None:
        return None
    causal, lengths, rest = False, None, []
    for part in _conjuncts(visible):
        if _always(part):
            continue
        found = _length(part)
        if _is_causal(part):
            causal = True
        elif found is not None and lengths is None:
            lengths = found
        else:
            rest.append(part)
    return MaskMeaning(causal, lengths, tuple(rest))


def _visible(mask: ir.Value) -> ir.Value | None:
    """The boolean that is true where the mask lets a key be seen."""
    if mask.dtype == ir.DataType.BOOL:
        return mask
    node = made_by(mask, "Where", "Mul", "Cast")
    if node is None:
        return mask if constant(mask) is not None else None
    if node.op_type == "Cast":
        # Of booleans it adds 1 to the scores of what is true, and hides nothing.
        inner = node.inputs[0]
        return None if inner is None or inner.dtype == ir.DataType.BOOL else _visible(inner)
    if node.op_type == "Where":
        seen, hidden = (constant(value) for value in node.inputs[1:])
        if seen is None or hidden is None or not (seen == 0).all() or not (hidden < HIDES).all():
            return None
        return node.inputs[0]
    return _negated(node)


def _negated(mul: ir.Node) -> ir.Value | None:
    """Of lowest * Cast(Not(visible))."""
    for index in (0, 1):
        number = constant(mul.inputs[index])
        cast = made_by(mul.inputs[1 - index], "Cast")
        negation = made_by(None if cast is None else cast.inputs[0], "Not")
        if number is not None and (number < HIDES).all() and negation is not None:
            # Infinity would make NaN of what is seen: 0 * inf.
            return negation.inputs[0] if np.isfinite(number).all() else None
    return None


def _conjuncts(value: ir.Value) -> list[ir.Value]:
    node = made_by(value, "And")
    if node is None:
        return [value]
    return [part for operand in node.inputs if operand is not None for part in _conjuncts(operand)]


def _always(value: ir.Value) -> bool:
    number = constant(value)
    return number is not None and number.dtype == bool and bool(number.all())


def _is_causal(value: ir.Value) -> bool:
    number = constant(value)
    if number is not None:
        return _is_lower_triangle(number)
    node = made_by(value, "LessOrEqual", "GreaterOrEqual")
    if node is None:
        return False
    key, query = node.inputs if node.op_type == "LessOrEqual" else reversed(node.inputs)
    return _counts(key, axis=-1) and _counts(query, axis=-2)


def _is_lower_triangle(number: Array) -> bool:
    """Of a mask of numbers or booleans that is the same for all rows and heads."""
    if number.ndim < 2 or number.shape[-1] < 2 or number.size != np.prod(number.shape[-2:]):
        return False
    queries, keys = number.shape[-2:]
    square = number.reshape(queries, keys)
    seen = square if square.dtype == bool else square == 0
    hidden = ~seen if square.dtype == bool else square < HIDES
    triangle = np.tri(queries, keys) > 0
    return bool((seen == triangle).all() and (hidden != triangle).all())


def _length(value: ir.Value) -> ir.Value | None:
    """The lengths in `number of the key < length`, which are a prefix whatever they hold."""
    node = made_by(value, "Less", "Greater")
    if node is None:
        return None
    numbers, lengths = node.inputs if node.op_type == "Less" else reversed(node.inputs)
    if not _counts(numbers, axis=KEY_AXIS) or lengths is None or rank(lengths) is None:
        return None
    assert lengths.shape is not None
    single = all(known(lengths, axis) == 1 for axis in range(1, len(lengths.shape)))
    return lengths if len(lengths.shape) == 4 and single else None


def _counts(value: ir.Value | None, *, axis: int) -> bool:
    """Whether it is 0, 1, 2 .. along one axis (from the end) and has no other."""
    axes = rank(value)
    if axes is None or axes < -axis:
        return False
    if any(known(value, other) != 1 for other in range(-axes, 0) if other != axis):
        return False
    while (node := made_by(value, "Unsqueeze", "Cast")) is not None:
        value = node.inputs[0]
    numbers = constant(value)
    if numbers is not None:
        return bool((numbers.reshape(-1) == np.arange(numbers.size)).all())
    made = made_by(value, "Range")
    if made is None:
        return False
    start, step = constant(made.inputs[0]), constant(made.inputs[2])
    return start is not None and step is not None and int(start) == 0 and int(step) == 1
