"""Latencies as rows: end to end and per component, the engine beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mmedge.report.quantities import (
    NOT_AVAILABLE,
    count,
    interval,
    milliseconds,
    percent,
    percentile,
    size,
    times,
)

SIDES = {"engine": "engine", "pytorch": "PyTorch eager"}
WHOLE = "end to end"


@dataclass(frozen=True)
class LatencyRow:
    """One side of one measurement, as text."""

    what: str
    side: str
    p50: str
    p50_interval: str
    p90: str
    p95: str
    p99: str
    largest: str
    cpu: str
    calls: str


@dataclass(frozen=True)
class SteadyRow:
    """How far one measurement may be trusted, as text; by side, in the order of `SIDES`."""

    what: str
    speedup: str
    warmed_up: bool
    drift: tuple[str, ...]
    outliers: tuple[str, ...]


def latency_rows(report: dict[str, Any]) -> list[LatencyRow]:
    """End to end, then every component that was measured: each side."""
    return [
        _latency_row(what, side, part)
        for what, part in _parts(report).items()
        for side in part["summaries"]
    ]


def steady_rows(report: dict[str, Any]) -> list[SteadyRow]:
    """Speed-up, warm-up, drift and outliers of the same measurements."""
    return [
        SteadyRow(
            what=what,
            speedup=_speedup(part["speedup"]),
            warmed_up=part["warmed_up"],
            drift=tuple(_by_side(part, _drift)),
            outliers=tuple(_by_side(part, lambda summary: percent(summary["outlier_share"]))),
        )
        for what, part in _parts(report).items()
    ]


def not_measured_alone(report: dict[str, Any]) -> list[str]:
    """Components without a measurement of their own, where there is one end to end."""
    if report["measurement"]["end_to_end"] is None:
        return []
    measured = report["measurement"]["components"]
    return [part["name"] for part in report["components"] if part["name"] not in measured]


def machine_facts(report: dict[str, Any]) -> dict[str, Any] | None:
    """Label -> value of what the machine said of itself; None where nothing was measured."""
    machine = report["measurement"]["machine"]
    if machine is None:
        return None
    return {_label(key): _fact(key, value) for key, value in machine.items()}


def _parts(report: dict[str, Any]) -> dict[str, Any]:
    measurement = report["measurement"]
    if measurement["end_to_end"] is None:
        return {}
    return {WHOLE: measurement["end_to_end"], **measurement["components"]}


def _latency_row(what: str, side: str, part: dict[str, Any]) -> LatencyRow:
    summary = part["summaries"][side]
    bounds = summary["p50_interval_ms"]
    return LatencyRow(
        what=what,
        side=SIDES.get(side, side),
        p50=milliseconds(summary["p50_ms"]),
        p50_interval=interval(bounds) if bounds else "no interval: too few calls",
        p90=percentile(summary, 90),
        p95=percentile(summary, 95),
        p99=percentile(summary, 99),
        largest=milliseconds(summary["max_ms"]),
        cpu=milliseconds(part["cpu_ms_per_call"].get(side)),
        calls=count(summary["count"]),
    )


def _speedup(ratio: dict[str, float] | None) -> str:
    return f"{times(ratio['value'])} ({interval(ratio)})" if ratio else NOT_AVAILABLE


def _by_side(part: dict[str, Any], words: Callable[[dict[str, Any]], str]) -> Iterator[str]:
    for side, summary in part["summaries"].items():
        yield f"{SIDES.get(side, side)}: {words(summary)}"


def _drift(summary: dict[str, Any]) -> str:
    """The second half of the run beside the first."""
    ratio = summary["drift"]
    if ratio is None:
        return "too few rounds to tell"
    found = f"{times(ratio['value'])} ({interval(ratio)})"
    return f"{found}, drifted" if summary["drifted"] else found


def _label(key: str) -> str:
    return _LABELS.get(key, key.removesuffix("_bytes").removesuffix("_mhz").replace("_", " "))


_LABELS = {
    "cpu_model": "CPU",
    "current_mhz": "clock now",
    "max_mhz": "highest clock",
    "load_average": "load average, 1 min",
    "hypervisor": "virtual machine",
    "governor": "frequency governor",
}


def _fact(key: str, value: Any) -> str:
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_bytes"):
        return size(value)
    return f"{value:.0f} MHz" if key.endswith("_mhz") else str(value)
