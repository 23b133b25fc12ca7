"""How far an output moved, accumulated over batches in constant memory."""

from __future__ import annotations

import math
from collections import defaultdict

import msgspec
import numpy as np

from mmedge.tensors import Array


class Difference(msgspec.Struct, frozen=True):
    """An output against its reference.

    max_abs: largest absolute difference.
    relative: max_abs over the reference's largest absolute value (0 / 0 is 0).
    cosine: of both tensors seen as one long vector; None where either is all zero.
    sqnr_db: 10 log10(signal power / error power); None where nothing differs.
    mismatched: elements that differ, of integer and boolean outputs.
    not_finite: elements that are NaN or infinite in one and not the same in the other.
    """

    count: int
    max_abs: float
    relative: float
    cosine: float | None
    sqnr_db: float | None
    mismatched: int
    not_finite: int


class DifferenceAccumulator:
    """Feed pairs of arrays with `add`; read `result` at any time."""

    def __init__(self) -> None:
        self._count = self._mismatched = self._not_finite = 0
        self._max_abs = self._peak = 0.0
        self._dot = self._reference_power = self._found_power = self._error_power = 0.0

    def add(self, reference: Array, found: Array) -> None:
        """One batch; both arrays have the same shape (ValueError otherwise)."""
        if reference.shape != found.shape:
            raise ValueError(f"shapes differ: {reference.shape} and {found.shape}")
        self._count += reference.size
        if reference.dtype.kind != "f":
            self._mismatched += int(np.count_nonzero(reference != found))
        wanted, got = reference.astype(np.float64), found.astype(np.float64)
        same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
        finite = np.isfinite(wanted) & np.isfinite(got)
        self._not_finite += int(np.count_nonzero(~finite & ~same))
        self._add_finite(wanted[finite], got[finite])

    def _add_finite(self, wanted: Array, got: Array) -> None:
        if not wanted.size:
            return
        error = got - wanted
        self._max_abs = max(self._max_abs, float(np.abs(error).max()))
        self._peak = max(self._peak, float(np.abs(wanted).max()))
        self._dot += float(wanted.ravel() @ got.ravel())
        self._reference_power += float(wanted.ravel() @ wanted.ravel())
        self._found_power += float(got.ravel() @ got.ravel())
        self._error_power += float(error.ravel() @ error.ravel())

    def result(self) -> Difference:
        """The difference over everything added so far."""
        norm = math.sqrt(self._reference_power * self._found_power)
        relative = self._max_abs / self._peak if self._peak else float(self._max_abs > 0)
        noisy = self._error_power > 0 and self._reference_power > 0
        return Difference(
            count=self._count,
            max_abs=self._max_abs,
            relative=relative,
            cosine=min(1.0, self._dot / norm) if norm else None,
            sqnr_db=10 * math.log10(self._reference_power / self._error_power) if noisy else None,
            mismatched=self._mismatched,
            not_finite=self._not_finite,
        )


class DifferencesByOutput:
    """An accumulator for each output, made when the output is first seen."""

    def __init__(self) -> None:
        self._accumulators: defaultdict[str, DifferenceAccumulator]
        self._accumulators = defaultdict(DifferenceAccumulator)

    def add(self, output: str, reference: Array, found: Array) -> None:
        """One batch of one output."""
        self._accumulators[output].add(reference, found)

    def result(self) -> dict[str, Difference]:
        """The difference of each output over everything added so far."""
        return {name: accumulator.result() for name, accumulator in self._accumulators.items()}
