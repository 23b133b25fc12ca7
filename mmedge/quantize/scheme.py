"""How real numbers become a format's: scale, zero point, and how many values share them.

The arithmetic is that of ONNX's QuantizeLinear and DequantizeLinear (operator set 21, with
blocks): `stored = saturate(round(x / scale) + zero_point)`, `x = (stored - zero_point) * scale`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.quantize.number_formats import FloatFormat, IntegerFormat, NumberFormat

# A scale of float32's least normal number keeps 1 / scale finite; smaller ones are zero tensors.
LEAST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Scheme:
    """A format and what shares a scale.

    symmetric: the zero point is 0 (or the middle, of an unsigned format).
    axis: None, one scale for the whole tensor; else one for each index of this axis.
    block: along `axis`, one scale for each run of so many values, and for each index of the rest.
    """

    format: NumberFormat
    symmetric: bool = True
    axis: int | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None and (self.axis is None or self.block < 1):
            raise ValueError(f"blocks need an axis and at least one value: {self}")
        if isinstance(self.format, FloatFormat) and not self.symmetric:
            raise ValueError(f"floating-point formats have no zero point: {self}")


@dataclass(frozen=True)
class Parameters:
    """Scales (float32) and zero points (in the format's dtype) of one tensor, of equal shape.

    Shape () for a whole tensor, [channels] for an axis; with blocks, the tensor's shape with
    `axis` divided by the block, rounded up.
    """

    scheme: Scheme
    scale: NDArray[np.float32]
    zero_point: NDArray[Any]


def limits(values: NDArray[Any], scheme: Scheme) -> tuple[NDArray[Any], NDArray[Any]]:
    """The least and the greatest value of each group that shares a scale, shaped like its scale."""
    if scheme.axis is None:
        return values.min(), values.max()
    if scheme.block is None:
        others = tuple(a for a in range(values.ndim) if a != scheme.axis % values.ndim)
        return values.min(axis=others), values.max(axis=others)
    axis = scheme.axis % values.ndim
    starts = np.arange(0, values.shape[axis], scheme.block)
    return np.minimum.reduceat(values, starts, axis), np.maximum.reduceat(values, starts, axis)


def parameters(low: Any, high: Any, scheme: Scheme) -> Parameters:
    """Scales and zero points by which `[low, high]`, and 0, are within the format's range.

    low, high: finite, shaped like the scale. Raises ValueError where low is above high.
    """
    low, high = np.minimum(_finite(low), 0.0), np.maximum(_finite(high), 0.0)
    if np.any(np.asarray(low) > np.asarray(high)):
        raise ValueError("a range ends before it begins")
    kind = scheme.format
    if isinstance(kind, FloatFormat):
        scale = np.maximum(-low, high) / kind.largest
        return Parameters(scheme, _usable(scale), np.zeros(np.shape(scale), kind.dtype))
    if scheme.symmetric:
        middle = 0 if kind.signed else (kind.highest + 1) // 2
        scale = np.maximum(-low, high) / (kind.highest - middle)
        return Parameters(scheme, _usable(scale), np.full(np.shape(scale), middle, kind.dtype))
    scale = _usable((high - low) / (kind.highest - kind.lowest))
    zero_point = np.clip(np.rint(kind.lowest - low / scale), kind.lowest, kind.highest)
    return Parameters(scheme, scale, np.asarray(zero_point).astype(kind.dtype))


def quantize(values: NDArray[Any], by: Parameters) -> NDArray[Any]:
    """The stored numbers of `values`, of the same shape, in the format's dtype."""
    scale, zero_point = _spread(by, values)
    scaled = values.astype(np.float32) / scale
    if isinstance(by.scheme.format, IntegerFormat):
        scaled = np.rint(scaled) + zero_point  # rounded before the shift: an odd one turns ties
    return by.scheme.format.stored(scaled.astype(np.float64))


def dequantize(stored: NDArray[Any], by: Parameters) -> NDArray[np.float32]:
    """The float32 numbers that stored ones stand for."""
    scale, zero_point = _spread(by, stored)
    numbers = stored
    if isinstance(by.scheme.format, IntegerFormat):
        numbers = stored.astype(np.int32) - zero_point.astype(np.int32)
    real: NDArray[np.float32] = numbers.astype(np.float32) * scale
    return real


def rounded(values: NDArray[Any], by: Parameters) -> NDArray[np.float32]:
    """`values` as they come back from the format."""
    return dequantize(quantize(values, by), by)


def _spread(by: Parameters, like: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale and zero point, broadcast to the shape of `like`."""
    axis, block = by.scheme.axis, by.scheme.block
    if axis is None:
        return by.scale, by.zero_point
    axis %= like.ndim
    if block is not None:
        size = like.shape[axis]
        scale, zero_point = (
            np.repeat(p, block, axis).take(np.arange(size), axis) for p in (by.scale, by.zero_point)
        )
        return scale, zero_point
    shape = [1] * like.ndim
    shape[axis] = -1
    return by.scale.reshape(shape), by.zero_point.reshape(shape)


def _finite(values: Any) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError("a range has values that are not finite")
    return found


def _usable(scale: Any) -> NDArray[np.float32]:
    """float32 scales; 1 where a group is all zeros, so that nothing is divided by zero."""
    found = np.asarray(scale, dtype=np.float32)
    return np.where(found < LEAST_SCALE, np.float32(1), found).astype(np.float32)
