"""The verdict: what was achieved in one sentence, the key figures, and what to doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmedge.report.caveats import Caveat, caveats, disturbances
from mmedge.report.comparison import end_to_end, worst
from mmedge.report.native_engines import native_size_bytes
from mmedge.report.quantities import (
    interval,
    milliseconds,
    plural,
    scientific,
    significant,
    size,
    times,
)

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Figure:
    """One key figure: `value`, what it was `before`, and a line that says how to read it."""

    label: str
    value: str
    note: str
    before: str | None = None
    doubtful: bool = False


@dataclass(frozen=True)
class Verdict:
    """The top of the report. `sentence` is for whoever reads nothing else."""

    sentence: str
    figures: tuple[Figure, ...]
    caveats: tuple[Caveat, ...]


def verdict(report: dict[str, Any]) -> Verdict:
    """The verdict on a report, from nothing but its own numbers."""
    figures = (_equality(report), _speed(report), _latency(report), _size(report), _task(report))
    return Verdict(f"{_equality_words(report)} {_speed_words(report)}", figures, caveats(report))


def _equality_words(report: dict[str, Any]) -> str:
    rows = end_to_end(report)
    name = report["name"]
    if not all(row.within for row in rows):
        return f"{name} does not give the outputs of the PyTorch model."
    start = f"{name}: the graphs of its engines give" if report["native"] else f"{name} gives"
    if not all(row.exact for row in rows):
        return f"{start} the outputs of the PyTorch model within tolerance."
    if all(part["engine"]["precision"] == "fp32" for part in report["components"]):
        return f"{start} exactly the outputs of the PyTorch model."
    samples = plural(report["verification"]["samples"], "sample")
    return f"{start} the outputs of the PyTorch model on all {samples}."


def _speed_words(report: dict[str, Any]) -> str:
    speedup = speedup_of(report)
    if speedup is None:
        return "Its speed was not measured."
    if disturbances(report):
        return "Its speed was measured under disturbance, so read the speed-up with caution."
    if speedup["low"] > 1:
        return f"It runs {times(speedup['value'])} faster than PyTorch eager at the median."
    if speedup["high"] < 1:
        return f"It runs {times(1 / speedup['value'])} slower than PyTorch eager at the median."
    return "Its speed is not measurably different from that of PyTorch eager."


def speedup_of(report: dict[str, Any]) -> dict[str, float] | None:
    """PyTorch's time over the engine's, with its 95% interval; None where not measured."""
    whole = report["measurement"]["end_to_end"]
    found: dict[str, float] | None = whole["speedup"] if whole else None
    return found


def _equality(report: dict[str, Any]) -> Figure:
    rows = end_to_end(report)
    largest = worst(rows)
    if not all(row.within for row in rows):
        value = "different"
    else:
        value = "identical" if all(row.exact for row in rows) else "within tolerance"
    source = "real" if report["verification"]["real_inputs"] else "synthetic"
    samples = plural(report["verification"]["samples"], f"{source} sample")
    moved = scientific(largest.relative)
    allowed = scientific(largest.tolerance)
    note = f"largest relative difference {moved}, allowed {allowed}, on {samples}"
    return Figure("Outputs", value, note, doubtful=source == "synthetic" or value == "different")


def _speed(report: dict[str, Any]) -> Figure:
    speedup = speedup_of(report)
    if speedup is None:
        why = report["measurement"].get("why", "no comparison with PyTorch was asked for")
        return Figure("Speed-up", NOT_MEASURED, why)
    doubtful = bool(disturbances(report))
    note = f"over PyTorch eager; 95% interval {interval(speedup)}"
    if doubtful:
        note += "; the measurement was disturbed"
    # Where the interval spans more than a factor of two, its middle says nothing.
    vague = doubtful and speedup["high"] > 2 * speedup["low"]
    value = "not settled" if vague else times(speedup["value"])
    return Figure("Speed-up", value, note, doubtful=doubtful)


def _latency(report: dict[str, Any]) -> Figure:
    label = "Latency, median"
    whole = report["measurement"]["end_to_end"]
    if whole is None:
        if report["native"]:
            return Figure(label, NOT_MEASURED, "mmedge profile BUNDLE, on the target, measures it")
        return Figure(label, NOT_MEASURED, "compile with --measure-seconds above 0")
    engine, eager = whole["summaries"]["engine"], whole["summaries"].get("pytorch")
    before = milliseconds(eager["p50_ms"]) if eager else None
    note = f"end to end at batch {report['measurement']['batch']}"
    if engine["p50_interval_ms"]:
        note += f"; 95% interval {interval(engine['p50_interval_ms'], 'ms')}"
    value = milliseconds(engine["p50_ms"])
    return Figure(label, value, note, before=before, doubtful=bool(disturbances(report)))


def _size(report: dict[str, Any]) -> Figure:
    before = report["checkpoint"]["size_bytes"]
    after = native_size_bytes(report) or engines_size_bytes(report)
    note = f"weights in the checkpoint → {plural(len(report['components']), 'engine file')}"
    if before and after:
        larger = after > before
        factor = times(after / before if larger else before / after)
        note += f"; {factor} {'larger' if larger else 'smaller'}"
    return Figure("Size", size(after), note, before=size(before))


def engines_size_bytes(report: dict[str, Any]) -> int:
    """Size of all engines together, in bytes."""
    return sum(component["engine"]["size_bytes"] for component in report["components"])


def _task(report: dict[str, Any]) -> Figure:
    task = report["verification"]["task"]
    if task is None:
        note = "no task metric is declared, or the samples have no targets"
        return Figure("Task metric", NOT_MEASURED, note)
    before, after = task["before"], task["after"]
    change = "no change" if after == before else f"change {significant(after - before, 2)}"
    note = f"{task['metric']} on {plural(task['samples'], 'sample')}; {change}"
    return Figure("Task metric", f"{after:.4f}", note, before=f"{before:.4f}")
