"""Verification as rows: every output that was compared with PyTorch, and whether it may pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Compared:
    """One output of one comparison; the numbers are those of `mmedge.verify.metrics.Difference`.

    tolerance: allowed `relative`; None where the report does not say.
    """

    what: str
    output: str
    count: int
    max_abs: float
    relative: float
    cosine: float | None
    sqnr_db: float | None
    mismatched: int
    not_finite: int
    tolerance: float | None

    @property
    def exact(self) -> bool:
        """No value differs."""
        return self.max_abs == 0 and not self.mismatched and not self.not_finite

    @property
    def within(self) -> bool:
        """The rule of verification: finite, integers equal, the rest within the tolerance."""
        if self.mismatched or self.not_finite:
            return False
        return self.exact or (self.tolerance is not None and self.relative <= self.tolerance)

    @property
    def judgement(self) -> str:
        """The outcome in words."""
        if self.not_finite:
            return f"{self.not_finite} values became NaN or infinite"
        if self.mismatched:
            return f"{self.mismatched} integers differ"
        if self.exact:
            return "identical"
        if self.tolerance is None:
            return "tolerance not available"
        return "within tolerance" if self.within else "outside tolerance"


def split_check(report: dict[str, Any]) -> list[Compared]:
    """The components run in PyTorch against the model's own forward; empty for generation."""
    found = report["verification"]["split"]
    return _rows("components in PyTorch", found, report["verification"]["tolerance"])


def by_component(report: dict[str, Any]) -> list[Compared]:
    """Each engine against its PyTorch module."""
    verification = report["verification"]
    allowed_of = verification["component_tolerance"]
    rows = []
    for name, found in verification["components"].items():
        for output, facts in found.items():
            # Where PyTorch's own float32 is far from float64, an engine may be too.
            room = verification["own_rounding"].get(f"{name}.{output}", 0.0)
            allowed = max(allowed_of[name], room) if name in allowed_of else None
            rows += _rows(name, {output: facts}, allowed)
    return rows


def end_to_end(report: dict[str, Any]) -> list[Compared]:
    """Every output of the whole model, all engines together."""
    return _whole(report, "all inputs", report["verification"]["end_to_end"])


def absent(report: dict[str, Any]) -> list[Compared]:
    """The same without optional inputs."""
    found = report["verification"]["absent"]
    return [row for label in found for row in _whole(report, f"without {label}", found[label])]


def worst(rows: Iterable[Compared]) -> Compared:
    """The row that moved most, relative to its output."""
    return max(rows, key=lambda row: row.relative)


def _whole(report: dict[str, Any], what: str, found: dict[str, Any]) -> list[Compared]:
    allowed = report["verification"]["golden_tolerance"]
    return [row for name in found for row in _rows(what, {name: found[name]}, allowed.get(name))]


def _rows(what: str, found: dict[str, Any], tolerance: float | None) -> list[Compared]:
    return [Compared(what, name, tolerance=tolerance, **facts) for name, facts in found.items()]
