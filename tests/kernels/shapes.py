"""What is asked of the kernels: the shapes of a problem, its masks, its numbers' format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from mmedge.kernels.attention_library import BF16, FP16

NUMBERS: dict[str, tuple[int, Any, float]] = {
    # The C interface's number, numpy's type, the relative error of one rounding.
    "Fp16": (FP16, np.float16, 2.0**-11),
    "Bf16": (BF16, ml_dtypes.bfloat16, 2.0**-8),
}


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Lengths make it padded, packed ones make it packed."""

    number: str = "Fp16"
    head_size: int = 64
    batch: int = 1
    queries: int = 1
    keys: int = 1
    heads: int = 1
    kv_heads: int = 1
    causal: int = 0
    bias: tuple[bool, bool] | None = None  # has a batch axis, has a head axis
    lengths: tuple[int, ...] | None = None
    packed: tuple[tuple[int, int], ...] | None = None  # (queries, keys) of each row
    gap: int = 0  # elements between rows, times 8; the values have 8 more
    loud: float = 1.0  # the queries are multiplied by it: some scores are far above the others
    seed: int = 0
