"""Attention of one head in float64, and how far a right kernel may be from it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from shapes import NUMBERS, Shapes

Array = npt.NDArray[Any]


def attend(
    query: Array, key: Array, value: Array, *, bias: Array | None, shapes: Shapes
) -> tuple[Array, Array]:
    scores = query @ key.T / math.sqrt(shapes.head_size)
    if bias is not None:
        scores += bias[:, : len(key)]
    if shapes.causal:
        offset = len(key) - len(query) if shapes.causal == 2 else 0
        hidden = np.arange(len(key)) > np.arange(len(query))[:, None] + offset
        scores = np.where(hidden, -np.inf, scores)
    greatest = scores.max(axis=1, keepdims=True, initial=-np.inf)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - np.where(np.isneginf(greatest), 0, greatest))
        total = weights.sum(axis=1, keepdims=True)
        shares = np.divide(weights, total, out=np.zeros_like(weights), where=total != 0)
        result = shares @ value
        return result, _rounding(shapes, shares @ np.abs(value), value, total)


def _rounding(shapes: Shapes, magnitude: Array, value: Array, total: Array) -> Array:
    """Weights and the result are rounded once each; small fp16 weights lose whole bits."""
    relative = NUMBERS[shapes.number][2]
    subnormal = 2.0**-25 * np.abs(value).sum(axis=0, initial=0) / np.maximum(total, 1)
    return np.asarray(2.2 * relative * magnitude + subnormal + 1e-6)
