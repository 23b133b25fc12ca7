"""From the distribution of a tensor's values to the range that is represented.

A wide range rounds coarsely, a narrow one clips: each observer strikes that balance in its way.
All take a `Histogram` and give a range that contains 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmedge.quantize.histogram import Histogram
from mmedge.quantize.number_formats import IntegerFormat
from mmedge.quantize.scheme import Scheme, parameters, rounded

Range = tuple[float, float]
Observer = Callable[[Histogram, Scheme], Range]

SHARES = np.geomspace(1 / 256, 1.0, 96)  # of the largest magnitude: ends mse and entropy try
PERCENTILE = 99.99
ENTROPY_LEVELS = 128


def min_max(seen: Histogram, _scheme: Scheme) -> Range:
    """Everything that was seen; nothing is clipped."""
    return min(seen.low, 0.0), max(seen.high, 0.0)


def percentile(seen: Histogram, _scheme: Scheme, *, share: float = PERCENTILE) -> Range:
    """The range that leaves (100 - share) / 2 percent out on either side.

    On a side where nothing was seen beyond zero, the range ends at zero.
    """
    low, high = min_max(seen, _scheme)
    nonzero = np.cumsum(seen.counts)
    # Exact zeros are values too: they lie between the negative and the positive bins.
    counted = nonzero + np.where(seen.centres > 0, seen.zeros, 0)
    left_out = seen.values * (100.0 - share) / 200.0
    edges = seen.centres
    half = seen.reach / seen.counts.size
    first = int(np.searchsorted(counted, left_out, side="right"))
    last = int(np.searchsorted(counted, seen.values - left_out, side="left"))
    found_low = float(edges[min(first, edges.size - 1)] - half)
    found_high = float(edges[min(last, edges.size - 1)] + half)
    return min(max(low, found_low), 0.0), max(min(high, found_high), 0.0)


def mse(seen: Histogram, scheme: Scheme) -> Range:
    """The range with the least mean squared error of rounding and clipping together."""
    tried = _clipped(seen)
    errors = [_squared_error(seen, r, scheme) for r in tried]
    return tried[int(np.argmin(errors))]


def entropy(seen: Histogram, scheme: Scheme) -> Range:
    """The range whose coarse distribution says most of the fine one (least Kullback-Leibler).

    After Migacz, "8-bit inference with TensorRT", GTC 2017: the clipped values go into the last
    bins of the reference, which is compared with itself merged into as many levels as the format
    has.
    """
    tried = _clipped(seen)
    kind = scheme.format
    levels = kind.highest - kind.lowest + 1 if isinstance(kind, IntegerFormat) else ENTROPY_LEVELS
    divergences = [_divergence(seen, r, levels) for r in tried]
    return tried[int(np.argmin(divergences))]


OBSERVERS: dict[str, Observer] = {
    "min-max": min_max,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}


def _clipped(seen: Histogram) -> list[Range]:
    """Ranges that clip what is beyond a magnitude, the last of them nothing."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    largest = max(-low, high)
    return [(max(low, -largest * share), min(high, largest * share)) for share in SHARES]


def _squared_error(seen: Histogram, found: Range, scheme: Scheme) -> float:
    whole = Scheme(scheme.format, scheme.symmetric)
    centres = seen.centres
    error = rounded(centres.astype(np.float32), parameters(*found, whole)) - centres
    return float((seen.counts * error**2).sum())


def _divergence(seen: Histogram, found: Range, levels: int) -> float:
    centres, counts = seen.centres, seen.counts.astype(np.float64)
    inside = (centres >= found[0]) & (centres <= found[1])
    if inside.sum() < 2:
        return float("inf")
    fine = counts[inside].copy()
    if not fine.any():
        return float("inf")
    reference = fine.copy()
    reference[0] += counts[centres < found[0]].sum()
    reference[-1] += counts[centres > found[1]].sum()
    return _kullback_leibler(reference, _merged(fine, levels))


def _merged(fine: NDArray[np.float64], levels: int) -> NDArray[np.float64]:
    """Each level's count, spread evenly over those of its bins that have any."""
    level_of = np.arange(fine.size) * levels // fine.size
    totals = np.bincount(level_of, weights=fine)
    filled = np.bincount(level_of, weights=fine > 0)
    share = np.divide(totals, filled, out=np.zeros_like(totals), where=filled > 0)
    return np.where(fine > 0, share[level_of], 0.0)


def _kullback_leibler(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """sum p log(p / q) of the normalised counts; where only p has any, q is one part in 10^9."""
    p, q = p / p.sum(), q / q.sum()
    has = p > 0
    return float((p[has] * np.log(p[has] / np.maximum(q[has], 1e-9))).sum())
