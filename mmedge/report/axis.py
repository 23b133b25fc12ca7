"""The horizontal axis of a plot: linear, or logarithmic where the values span much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# A linear axis of which the fastest half of the calls would use less than a tenth hides them.
LOGARITHMIC_FROM = 10.0


@dataclass(frozen=True)
class Axis:
    """Values low..high (above 0 if logarithmic) on pixels left..right."""

    low: float
    high: float
    left: float
    right: float
    logarithmic: bool

    def position(self, value: float) -> float:
        """The pixel of a value."""
        share = self._scaled(value) - self._scaled(self.low)
        return self.left + share / self._span * (self.right - self.left)

    def ticks(self) -> list[float]:
        """Round values inside the axis, 3 to about 8."""
        return _decades(self.low, self.high) if self.logarithmic else _steps(self.low, self.high)

    @property
    def _span(self) -> float:
        return self._scaled(self.high) - self._scaled(self.low)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def axis_for(values: Sequence[float], *, left: float, right: float) -> Axis:
    """The axis that fits `values`, all above 0, with a little room at both ends."""
    low, high = min(values), max(values)
    if high / low >= LOGARITHMIC_FROM:
        return Axis(low / 1.3, high * 1.3, left, right, logarithmic=True)
    room = (high - low) * 0.06 or high * 0.1
    return Axis(max(0.0, low - room), high + room, left, right, logarithmic=False)


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; fewer for a wide range."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**e for e in exponents for f in factors if low <= f * 10.0**e <= high]
        if len(found) <= 8:
            break
    return found


def _steps(low: float, high: float) -> list[float]:
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    # Rounding may put the outermost ones a hair outside.
    return [t for i in range(first, last + 1) if low <= (t := round(i * step, 12)) <= high]
