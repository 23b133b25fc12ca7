"""What was done to each operator, and why: nothing is left out of the account."""

from __future__ import annotations

import msgspec
import numpy as np

from mmedge.tensors import Array

# A tensor that came back without any error.
EXACT_DB = 200.0


class Treated(msgspec.Struct, frozen=True):
    """One operator of a graph and what became of it.

    module: path of the PyTorch module it came from. treatment: the scheme's name, or "kept".
    why: of what was kept; of what was quantized, how ("per-channel int8 weights, ...").
    weight_sqnr_db: signal to quantization noise of its weights, in decibels; None where kept.
    saved_bytes: how much smaller its weights got.
    """

    node: str
    module: str
    operator: str
    treatment: str
    why: str
    weight_sqnr_db: float | None = None
    saved_bytes: int = 0


KEPT = "kept"


def sqnr_db(exact: Array, found: Array) -> float:
    """Signal to quantization noise ratio, 10 log10(sum x^2 / sum (x - y)^2), in decibels."""
    signal = float(np.square(exact, dtype=np.float64).sum())
    noise = float(np.square(exact.astype(np.float64) - found).sum())
    if noise == 0 or signal == 0:
        return EXACT_DB
    return float(min(EXACT_DB, 10 * np.log10(signal / noise)))
