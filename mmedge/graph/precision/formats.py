"""The narrow formats a graph may compute in, as values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mmedge.tensors import Array

# What a model adds to a score that must not count: float32's lowest, or -1e9. It has no other
# meaning than minus infinity, and no activation comes near it.
STANDS_FOR_MINUS_INFINITY = -1e9
# Of the largest number: what was seen on some samples may be a few times as large on others.
MARGIN = 4


@dataclass(frozen=True)
class NarrowFormat:
    """A format of 16 bits.

    largest: the largest finite number. smallest: the smallest above zero.
    """

    name: str
    dtype: ir.DataType
    largest: float
    smallest: float

    @property
    def onnx(self) -> str:
        """The type as an operator's schema names it."""
        return f"tensor({self.dtype.name.lower()})"

    @property
    def most_seen(self) -> float:
        """The largest magnitude on real inputs with which an operator may compute in it."""
        return self.largest / MARGIN

    @property
    def mask(self) -> float:
        """What stands for minus infinity: half of the lowest, so that the sum of two is finite.

        The difference of two infinities, in the softmax of a row that is masked whole, is NaN.
        """
        return -self.largest / 2

    def convert(self, array: Array) -> Array:
        """The array in this format; what stands for minus infinity becomes `mask`."""
        with np.errstate(over="ignore"):
            stands = (array <= STANDS_FOR_MINUS_INFINITY) & np.isfinite(array)
            if stands.any():
                array = np.where(stands, np.float32(self.mask), array)
            narrow: Array = array.astype(self.dtype.numpy())
        return narrow


# IEEE 754 binary16: 5 bits of exponent, 10 of mantissa. bfloat16: float32's 8 bits, and 7.
FORMATS = {
    "fp16": NarrowFormat("fp16", ir.DataType.FLOAT16, 65504.0, 2.0**-24),
    "bf16": NarrowFormat("bf16", ir.DataType.BFLOAT16, (2 - 2.0**-7) * 2.0**127, 2.0**-133),
}
