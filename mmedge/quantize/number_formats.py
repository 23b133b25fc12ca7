"""Number formats as values: what a tensor is stored and computed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmedge.optional import require

if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True)
class IntegerFormat:
    """Two's complement or unsigned integers; with a scale they stand for real numbers."""

    name: str
    bits: int
    signed: bool

    @property
    def lowest(self) -> int:
        """The least value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The greatest value."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """What numpy keeps a value in: int4 and uint4 take a byte there, half a byte in ONNX."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    def stored(self, scaled: NDArray[np.float64]) -> NDArray[Any]:
        """Numbers already divided by their scale, rounded half to even and saturated."""
        clipped = np.clip(np.rint(scaled), self.lowest, self.highest)
        return clipped.astype(self.dtype)


@dataclass(frozen=True)
class FloatFormat:
    """A floating-point format, by the name that `ml_dtypes` or numpy gives it.

    largest: the greatest finite value; what is beyond it saturates where the format is scaled.
    """

    name: str
    bits: int
    dtype_name: str
    largest: float

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype."""
        of = np if hasattr(np, self.dtype_name) else require("ml_dtypes")
        found: np.dtype[Any] = np.dtype(getattr(of, self.dtype_name))
        return found

    def stored(self, scaled: NDArray[np.float64]) -> NDArray[Any]:
        """Numbers already divided by their scale, rounded half to even and saturated.

        By way of float32, as QuantizeLinear computes: scaled values are float32 there.
        """
        clipped = np.clip(scaled, -self.largest, self.largest).astype(np.float32)
        return clipped.astype(self.dtype)


NumberFormat = IntegerFormat | FloatFormat

FP32 = FloatFormat("fp32", 32, "float32", float(np.finfo(np.float32).max))
FP16 = FloatFormat("fp16", 16, "float16", 65504.0)
BF16 = FloatFormat("bf16", 16, "bfloat16", 3.3895313892515355e38)
# Without infinities: Micikevicius et al., "FP8 formats for deep learning", 2022, arXiv 2209.05433.
FP8_E4M3 = FloatFormat("fp8_e4m3", 8, "float8_e4m3fn", 448.0)
INT8 = IntegerFormat("int8", 8, signed=True)
UINT8 = IntegerFormat("uint8", 8, signed=False)
INT4 = IntegerFormat("int4", 4, signed=True)
UINT4 = IntegerFormat("uint4", 4, signed=False)

FORMATS: dict[str, NumberFormat] = {
    f.name: f for f in (FP32, FP16, BF16, FP8_E4M3, INT8, UINT8, INT4, UINT4)
}
