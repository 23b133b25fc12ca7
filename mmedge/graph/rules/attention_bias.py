"""Masks as the bias of FusedAttention: [1 or batch, 1 or heads, queries, keys], typed as Q."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from mmedge.graph.rules.attention_form import known, rank
from mmedge.graph.rules.head_layout import Layout

AXES = 4
# The lowest number of a type: below it a cast would make -inf, and of a row that is masked
# throughout 0 instead of what the model computes.
LOWEST = {"FLOAT16": -65504.0}


def bias(layout: Layout, masks: tuple[ir.Value, ...]) -> ir.Value:
    """The sum of what `masks` add to the scores; those of booleans hide what is not true."""
    parts = [_additive(layout, mask) for mask in masks]
    whole = next((part for part in parts if _is_whole(layout, part)), None)
    total = parts[0]
    for part in parts[1:]:
        total = layout.make("Add", [total, part])
    return total if whole is not None else _expanded(layout, total)


def _additive(layout: Layout, mask: ir.Value) -> ir.Value:
    """One mask in four axes, in the type of the queries."""
    form = layout.form
    wanted = form.query.dtype
    assert wanted is not None
    missing = AXES - (rank(mask) or AXES)
    shape, dtype = mask.shape, mask.dtype or wanted
    if form.mask_hides and mask is form.mask:
        mask = layout.make("Not", [mask])
    if missing:
        mask = layout.make("Unsqueeze", [mask, layout.integers([*range(missing)])])
    if dtype == ir.DataType.BOOL:
        seen, hidden = (_number(layout, number, wanted) for number in (0.0, -np.inf))
        mask = layout.make("Where", [mask, seen, hidden])
    elif dtype != wanted:
        if wanted.name in LOWEST:
            mask = layout.make("Max", [mask, _number(layout, LOWEST[wanted.name], dtype)])
        mask = layout.make("Cast", [mask], to=wanted)
    if mask.producer() in layout.nodes:
        mask.type = ir.TensorType(wanted)
        mask.shape = None if shape is None else ir.Shape([*[1] * missing, *shape])
    return mask


def _is_whole(layout: Layout, mask: ir.Value) -> bool:
    form = layout.form
    return _spelled(mask, form.query, -2) and _spelled(mask, form.value, -1)


def _expanded(layout: Layout, mask: ir.Value) -> ir.Value:
    """With its queries and keys spelled out, where the mask may have one for all."""
    one = layout.integers([1, 1])
    queries, keys = (layout.rows(operand) for operand in (layout.query, layout.value))
    axes = layout.make("Concat", [one, queries, keys], axis=0)
    return layout.make("Expand", [mask, axes])


def _spelled(mask: ir.Value, value: ir.Value, axis: int) -> bool:
    """Whether the mask's axis is certainly that of the value's rows."""
    if mask.shape is None or value.shape is None:
        return False
    a, b = mask.shape[axis], value.shape[-2]
    return a == b and (known(mask, axis) is not None or a.value is not None)  # type: ignore[union-attr]


def _number(layout: Layout, number: float, dtype: ir.DataType) -> ir.Value:
    tensor = ir.tensor(np.array(number, dtype=dtype.numpy()))
    node = ir.node("Constant", [], {"value": tensor})
    layout.nodes.append(node)
    made = node.outputs[0]
    made.type, made.shape = ir.TensorType(dtype), ir.Shape([])
    return made
