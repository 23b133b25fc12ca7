"""Components in 8-bit integers: what was tried, what stayed, and what it brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmedge.report.layer_account import WHOLE_MODEL
from mmedge.report.quantities import cosine, decibels, plural, size, times

KEPT = "kept"


@dataclass(frozen=True)
class QuantizedRow:
    """A component. outcome: in words; the rest as the page shows it, "" where there is nothing."""

    component: str
    outcome: str
    operators: str
    least_cosine: str
    speed: str
    size: str


@dataclass(frozen=True)
class OperatorRow:
    """A weighted operator of a component."""

    component: str
    module: str
    operator: str
    treatment: str
    why: str
    weights: str


def quantized_rows(report: dict[str, Any]) -> list[QuantizedRow]:
    """A row for each component; none where integers were not asked for."""
    found = report["quantization"]["components"]
    return [_row(name, done) for name, done in found.items()]


def operator_rows(report: dict[str, Any]) -> list[OperatorRow]:
    """Every weighted operator of every component, in the order of the graphs."""
    return [
        OperatorRow(
            component=name,
            module=one["module"] or WHOLE_MODEL,
            operator=one["operator"],
            treatment=one["treatment"],
            why=one["why"],
            weights=decibels(one["weight_sqnr_db"]) if one["treatment"] != KEPT else "",
        )
        for name, done in report["quantization"]["components"].items()
        for one in done["treated"]
    ]


def _span(ratio: dict[str, float]) -> str:
    """The 95% interval of how many times faster."""
    return f"{1 / ratio['high']:.2f} to {1 / ratio['low']:.2f}"


def _row(name: str, done: dict[str, Any]) -> QuantizedRow:
    quantized = [one for one in done["treated"] if one["treatment"] != KEPT]
    cosines = [d["cosine"] for d in done["moved"].values() if d["cosine"] is not None]
    ratio = done["ratio"]
    speed = times(1 / ratio["value"]) if ratio else "not measured"
    operators = f"{len(quantized)} of {plural(len(done['treated']), 'operator')}"
    if done["refused"]:
        return QuantizedRow(name, f"left in float: {done['refused']}", operators, "", "", "")
    smaller = f"{size(done['bytes_before'])} to {size(done['bytes_after'])}"
    faster = f", {speed} as fast ({_span(ratio)})" if ratio else ""
    return QuantizedRow(
        component=name,
        outcome=f"{operators} quantized{faster}, {smaller}",
        operators=operators,
        least_cosine=cosine(min(cosines, default=None)),
        speed=speed,
        size=smaller,
    )
