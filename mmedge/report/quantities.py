"""Numbers as people read them: sensible digits, a unit, and words where there is no number.

Every function takes None and says NOT_AVAILABLE: a report shows neither 0 nor a blank for
something that nobody measured.
"""

from __future__ import annotations

import math
from typing import Any

NOT_AVAILABLE = "not available"
TOO_FEW = "too few calls"
# A percentile is read off the sample only where at least one call is expected beyond it.
CALLS_FOR_PERCENTILE = {50: 2, 90: 10, 95: 20, 99: 100}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def significant(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits without an exponent: 0.0985, 5.26, 2,070."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - magnitude)
    # Rounding may have carried into the next power of ten: 9.996 is 10.0.
    magnitude = math.floor(math.log10(abs(rounded)))
    return f"{rounded:,.{max(0, digits - 1 - magnitude)}f}"


def scientific(value: float | None) -> str:
    """Two significant digits and a power of ten: 2.7×10⁻⁷; 0 is 0."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def milliseconds(value: float | None) -> str:
    """A latency: 0.0985 ms, 204 ms."""
    return _with_unit(significant(value), "ms")


def seconds(value: float | None) -> str:
    """A duration: 20 ms, 5.46 s, 12.3 min."""
    if value is None:
        return NOT_AVAILABLE
    if value < 0.1:
        return f"{value * 1e3:.0f} ms" if value >= 1e-3 else "less than 1 ms"
    return f"{significant(value)} s" if value < 120 else f"{significant(value / 60)} min"


def size(value: float | None) -> str:
    """Bytes with a decimal unit: 812 B, 28.7 kB, 1.05 MB."""
    if value is None:
        return NOT_AVAILABLE
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} B" if unit == "B" else f"{significant(value)} {unit}"


def count(value: float | None) -> str:
    """A whole number with thousands separators."""
    return NOT_AVAILABLE if value is None else f"{value:,.0f}"


def times(value: float | None) -> str:
    """A factor: 5.26×."""
    text = significant(value)
    return text if text == NOT_AVAILABLE else f"{text}×"


def percent(share: float | None) -> str:
    """A share 0-1 with one digit: 14.2%."""
    return NOT_AVAILABLE if share is None else f"{share * 100:.1f}%"


def interval(bounds: dict[str, float] | None, unit: str = "") -> str:
    """A 95% interval: 2.87 to 551."""
    if bounds is None:
        return NOT_AVAILABLE
    return _with_unit(f"{significant(bounds['low'])} to {significant(bounds['high'])}", unit)


def cosine(value: float | None) -> str:
    """Cosine similarity; near 1 its distance from 1, which says more: 1 − 2.7×10⁻¹⁵."""
    if value is None:
        return NOT_AVAILABLE
    return f"1 − {scientific(1 - value)}" if 0 < 1 - value < 1e-4 else f"{value:.5g}"


def decibels(value: float | None) -> str:
    """A signal-to-noise ratio: 143 dB."""
    return _with_unit(NOT_AVAILABLE if value is None else f"{value:.0f}", "dB")


def percentile(summary: dict[str, Any], which: int) -> str:
    """p50, p90, p95 or p99 of a latency summary, or that it has too few calls to tell."""
    if summary["count"] < CALLS_FOR_PERCENTILE[which]:
        return TOO_FEW
    return milliseconds(summary[f"p{which}_ms"])


def plural(number: int, noun: str) -> str:
    """1 component, 3 components."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def shape(dims: list[int | str]) -> str:
    """[batch, 3, 28, 28]; a scalar is []."""
    return f"[{', '.join(map(str, dims))}]"


def tensor(spec: dict[str, Any]) -> str:
    """float32 [batch, 3, 28, 28]."""
    return f"{spec['dtype']} {shape(spec['shape'])}"


def _with_unit(text: str, unit: str) -> str:
    return text if text == NOT_AVAILABLE or not unit else f"{text} {unit}"
