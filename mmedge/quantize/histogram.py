"""The distribution of a tensor's values over a stream of batches, in bounded memory.

A histogram of fixed size whose range grows by doubling: when a value falls outside, pairs of bins
are merged until it fits, so no value is ever seen twice and none is kept. Least, greatest and the
number of exact zeros (which every scheme represents exactly) are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 4096  # of which a clipped range keeps hundreds; more changed no threshold in the tests
CHUNK = 1 << 20  # values looked at together: temporaries stay at a few megabytes


@dataclass
class Histogram:
    """Counts of finite values in `BINS` equal bins over [-reach, reach)."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    reach: float = 0.0
    low: float = np.inf
    high: float = -np.inf
    zeros: int = 0
    values: int = 0
    not_finite: int = 0

    def add(self, tensor: NDArray[Any]) -> None:
        """Count a tensor's values; what is not finite is counted apart and otherwise left out."""
        flat = np.ravel(tensor)
        for start in range(0, flat.size, CHUNK):
            self._add(flat[start : start + CHUNK].astype(np.float64))

    @property
    def is_constant(self) -> bool:
        """Whether all values that were seen are equal."""
        return self.values > 0 and self.low == self.high

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin."""
        places: NDArray[np.float64] = np.arange(BINS, dtype=np.float64) + 0.5
        return places * (2 * self.reach / BINS) - self.reach

    def _add(self, chunk: NDArray[np.float64]) -> None:
        finite = chunk[np.isfinite(chunk)]
        self.not_finite += chunk.size - finite.size
        if not finite.size:
            return
        self.values += finite.size
        self.low, self.high = min(self.low, finite.min()), max(self.high, finite.max())
        counted = finite[finite != 0]
        self.zeros += finite.size - counted.size
        if counted.size:
            self._grow(float(np.abs(counted).max()))
            self.counts += self._binned(counted)

    def _binned(self, counted: NDArray[np.float64]) -> NDArray[np.int64]:
        places = np.floor((counted + self.reach) * (BINS / (2 * self.reach))).astype(np.int64)
        return np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)

    def _grow(self, largest: float) -> None:
        """Double the reach until `largest` is within; the first is the first largest value."""
        if self.reach == 0.0:
            self.reach = float(np.nextafter(largest, np.inf))
        while self.reach <= largest:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : BINS // 4 + BINS // 2] = merged
            self.reach *= 2
