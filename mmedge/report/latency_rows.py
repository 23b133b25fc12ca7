"""Latencies as rows: end to end and per component, the engine beside PyTorch."""

from __future__ import annotations

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
    calls: str
    cpu: str
    speedup: str
    state: str


def latency_rows(report: dict[str, Any]) -> list[LatencyRow]:
    """End to end, then every component that was measured."""
    measurement = report["measurement"]
    if measurement["end_to_end"] is None:
        return []
    parts = {WHOLE: measurement["end_to_end"], **measurement["components"]}
    return [_row(what, side, part) for what, part in parts.items() for side in part["summaries"]]


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


def _row(what: str, side: str, part: dict[str, Any]) -> LatencyRow:
    summary = part["summaries"][side]
    faster = part["speedup"] if side == "engine" else None
    bounds = summary["p50_interval_ms"]
    return LatencyRow(
        what=what,
        side=SIDES.get(side, side),
        p50=milliseconds(summary["p50_ms"]),
        p50_interval=interval(bounds) if bounds else "no interval",
        p90=percentile(summary, 90),
        p95=percentile(summary, 95),
        p99=percentile(summary, 99),
        largest=milliseconds(summary["max_ms"]),
        calls=count(summary["count"]),
        cpu=milliseconds(part["cpu_ms_per_call"].get(side)),
        speedup=f"{times(faster['value'])} ({interval(faster)})" if faster else "",
        state=_state(summary, warmed_up=part["warmed_up"]),
    )


def _state(summary: dict[str, Any], *, warmed_up: bool) -> str:
    """Warm-up, drift and outliers in a few words."""
    drift = summary["drift"]
    if drift is None:
        drifted = "too few rounds to see drift"
    elif summary["drifted"]:
        drifted = f"drifted {times(drift['value'])}"
    else:
        drifted = "no drift"
    warm = "warm" if warmed_up else "still warming up"
    return f"{warm}; {drifted}; {percent(summary['outlier_share'])} outliers"


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
