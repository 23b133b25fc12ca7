"""What a reader must know before believing the report, most serious first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmedge.generation import COMPARED_TOKENS
from mmedge.report.comparison import absent, by_component, end_to_end
from mmedge.report.layer_account import parameters_not_listed
from mmedge.report.native_engines import native_size_bytes
from mmedge.report.quantities import (
    CALLS_FOR_PERCENTILE,
    interval,
    milliseconds,
    plural,
    size,
    times,
)

NOTABLY = 1.05
SIDES = {"engine": "the engine", "pytorch": "PyTorch"}


@dataclass(frozen=True)
class Caveat:
    """A reason to doubt, and what to do about it. `serious`: it may change the verdict."""

    title: str
    text: str
    serious: bool = True


def caveats(report: dict[str, Any]) -> tuple[Caveat, ...]:
    """Every caveat that the report's own numbers give reason for."""
    judges = (
        _of_remarks,
        _of_verification,
        _of_native_engines,
        _of_layers,
        _of_size,
        _of_measurement,
    )
    found = [caveat for judge in judges for caveat in judge(report)]
    return tuple(sorted(found, key=lambda caveat: not caveat.serious))


def disturbances(report: dict[str, Any]) -> list[str]:
    """Sentences on what makes the end-to-end latencies doubtful; empty for a clean measurement."""
    measurement = report["measurement"]
    whole = measurement["end_to_end"]
    if whole is None:
        return []
    found = list(measurement["dirty"])
    if not whole["warmed_up"]:
        found.append("Latencies were still changing when the warm-up time was over.")
    for side, summary in whole["summaries"].items():
        if summary["drifted"]:
            ratio = summary["drift"]
            found.append(
                f"The latency of {SIDES.get(side, side)} drifted: the second half of the run took "
                f"{times(ratio['value'])} the time of the first ({interval(ratio)}, 95%)."
            )
    return found


def _of_remarks(report: dict[str, Any]) -> list[Caveat]:
    """What the checkpoint's files told of raw inputs: a template that cannot be used, ..."""
    return [
        Caveat("Raw inputs", f"{remark[:1].upper()}{remark[1:]}.", serious=False)
        for remark in report["remarks"]
    ]


def _of_verification(report: dict[str, Any]) -> list[Caveat]:
    verification = report["verification"]
    found = []
    rows = [*end_to_end(report), *by_component(report), *absent(report)]
    bad = [row for row in rows if not row.within]
    if bad:
        names = ", ".join(f"{row.output} ({row.what}): {row.judgement}" for row in bad)
        found.append(Caveat("Not equal to the model", f"{names}."))
    if not verification["real_inputs"]:
        text = (
            "No evaluation data are declared, so outputs were compared on generated inputs. "
            "Real inputs may behave differently: declare [data] evaluation in mmedge.toml."
        )
        found.append(Caveat("Verified on synthetic inputs", text))
    if verification["own_rounding"]:
        names = ", ".join(verification["own_rounding"])
        text = (
            f"PyTorch's own float32 is further than the tolerance from its float64 in {names}: "
            "the model amplifies rounding. The engine may be a few times as far from PyTorch."
        )
        found.append(Caveat("A model that amplifies rounding", text, serious=False))
    if verification["task"] is None:
        text = (
            "Outputs were compared number by number; whether the model still does its task as "
            "well was not tested. Declare [data] metric, and samples with targets."
        )
        found.append(Caveat("No task metric", text, serious=False))
    return found


def _of_native_engines(report: dict[str, Any]) -> list[Caveat]:
    """What was proved of the target's own engines, which a machine without its GPU cannot run."""
    if not report["native"]:
        return []
    text = (
        "Equality was proved on this machine with ONNX Runtime, from the very graphs that the "
        "target's engines are built from. The engines themselves are proved on the target: "
        "mmedge verify BUNDLE, there, compares them with the golden outputs."
    )
    return [Caveat("The target's engines have not run yet", text)]


def _of_size(report: dict[str, Any]) -> list[Caveat]:
    before = report["checkpoint"]["size_bytes"]
    portable = sum(component["engine"]["size_bytes"] for component in report["components"])
    after = native_size_bytes(report) or portable
    if after <= before * NOTABLY:
        return []
    text = (
        f"The engines take {size(after)}, the checkpoint's weights {size(before)}: a graph is "
        "added to the weights, or compiled kernels, and weights that components share are stored "
        "with each."
    )
    return [Caveat("Larger than the checkpoint", text, serious=False)]


def _of_layers(report: dict[str, Any]) -> list[Caveat]:
    missing = parameters_not_listed(report)
    if not missing:
        return []
    text = f"{plural(missing, 'parameter')} of the checkpoint are in no listed layer."
    return [Caveat("Layers not accounted for", text)]


def _of_measurement(report: dict[str, Any]) -> list[Caveat]:
    measurement = report["measurement"]
    whole = measurement["end_to_end"]
    if whole is None:
        why = measurement.get("why", "not asked for")
        text = f"This bundle may be slower than PyTorch. Why it was not measured: {why}."
        return [Caveat("Speed was not measured", text)]
    found = []
    disturbed = disturbances(report)
    if disturbed:
        text = " ".join([*disturbed, "Measure again on a quiet machine: mmedge profile."])
        found.append(Caveat("The measurement was disturbed", text))
    found += _of_speed(report, whole)
    if _is_cached(report):
        text = f"The latencies are of an earlier compile with the same inputs: {_when(report)}."
        found.append(Caveat("Measured earlier", text, serious=False))
    return found


def _of_speed(report: dict[str, Any], whole: dict[str, Any]) -> list[Caveat]:
    found = []
    speedup = whole["speedup"]
    if speedup is None:
        text = "PyTorch was not measured beside the engine, so there is no speed-up."
        found.append(Caveat("No comparison", text))
    elif speedup["high"] < 1:
        allowed = report["provenance"]["config"].get("allow_slower")
        text = "The engine is measurably slower than PyTorch eager" + (
            "; --allow-slower accepted it." if allowed else "."
        )
        found.append(Caveat("Slower than before", text))
    elif speedup["low"] <= 1:
        text = f"The 95% interval of the speed-up ({interval(speedup)}) includes 1."
        found.append(Caveat("No measurable difference in speed", text))
    return found + _of_tail(whole) + _of_samples(whole) + _of_generation(report)


def _of_tail(whole: dict[str, Any]) -> list[Caveat]:
    """A median says nothing of the slowest calls, which a device's deadline is about."""
    summaries = whole["summaries"]
    if not {"engine", "pytorch"} <= set(summaries):
        return []
    engine, eager = summaries["engine"], summaries["pytorch"]
    told = min(engine["count"], eager["count"]) >= CALLS_FOR_PERCENTILE[99]
    if not told or engine["p99_ms"] <= eager["p99_ms"] or engine["p50_ms"] >= eager["p50_ms"]:
        return []
    text = (
        f"The engine is faster at the median, but one call in 100 takes longer than "
        f"{milliseconds(engine['p99_ms'])}; of PyTorch's, {milliseconds(eager['p99_ms'])}."
    )
    return [Caveat("The slowest calls are not faster", text)]


def _of_samples(whole: dict[str, Any]) -> list[Caveat]:
    few = [
        f"{SIDES.get(side, side)} has {summary['count']}"
        for side, summary in whole["summaries"].items()
        if summary["count"] < CALLS_FOR_PERCENTILE[99]
    ]
    if not few:
        return []
    text = f"Of 100 calls needed for a 99th percentile, {' and '.join(few)}."
    return [Caveat("Few calls", f"{text} --measure-seconds gives more.", serious=False)]


def _of_generation(report: dict[str, Any]) -> list[Caveat]:
    generation = report["generation"]
    if generation is None:
        return []
    length = min(generation["max_new_tokens"], COMPARED_TOKENS)
    text = (
        f"Answers are compared, and timed, up to {plural(length, 'token')}. The engine keeps keys "
        "and values of earlier tokens. PyTorch's side is the model's own loop: transformers' "
        "generate keeps them too; where a loop computes them again, part of the speed-up is the "
        "cache."
    )
    return [Caveat("Generation with a cache", text, serious=False)]


def _is_cached(report: dict[str, Any]) -> bool:
    return any(row["stage"] == "measure" and row["cached"] for row in report["stages"])


def _when(report: dict[str, Any]) -> str:
    return str(report["measurement"].get("measured") or "the time is not available")
