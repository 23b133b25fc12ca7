"""The pipeline as rows: how long each stage took, and in sentences what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mmedge.report.native_engines import built_with
from mmedge.report.quantities import count, plural, scientific, seconds, size
from mmedge.report.quantized import quantized_rows


@dataclass(frozen=True)
class StageRow:
    """One stage; `did` are sentences, `memory` the compile's largest memory until its end."""

    stage: str
    took: str
    memory: str
    cached: bool
    did: tuple[str, ...]


@dataclass(frozen=True)
class PassRow:
    """One graph pass that changed a component.

    checked: largest difference in the component's outputs, where passes were checked one by one.
    """

    component: str
    name: str
    nodes_before: int
    nodes_after: int
    what: tuple[str, ...]
    checked: str


@dataclass(frozen=True)
class KeptRow:
    """Operators of a module that stay in float32, and why."""

    component: str
    module: str
    operators: tuple[str, ...]
    why: str


def stage_rows(report: dict[str, Any]) -> list[StageRow]:
    """Every stage in order."""
    return [
        StageRow(
            stage=row["stage"],
            took=seconds(row["seconds"]),
            memory=size(row["peak_rss_bytes"]),
            cached=row["cached"],
            did=tuple(_SENTENCES[row["stage"]](report)) if row["stage"] in _SENTENCES else (),
        )
        for row in report["stages"]
    ]


def pass_rows(report: dict[str, Any]) -> list[PassRow]:
    """Every graph pass that changed something."""
    return [
        PassRow(
            component=component["name"],
            name=done["name"],
            nodes_before=done["nodes_before"],
            nodes_after=done["nodes_after"],
            what=tuple(done["what"]),
            checked=_checked(done["max_abs_difference"]),
        )
        for component in report["components"]
        for done in component["rewrite"]["passes"]
        if done["changed"]
    ]


def idle_passes(report: dict[str, Any]) -> dict[str, list[str]]:
    """Component -> passes that ran on it and found nothing to do."""
    return {
        component["name"]: [
            done["name"] for done in component["rewrite"]["passes"] if not done["changed"]
        ]
        for component in report["components"]
    }


def _checked(difference: float | None) -> str:
    return "not checked on its own" if difference is None else scientific(difference)


def _load(report: dict[str, Any]) -> list[str]:
    loaded = report["checkpoint"]
    read = f"Read {plural(loaded['tensors'], 'tensor')} with {count(loaded['parameters'])}"
    sentences = [f"{read} parameters ({size(loaded['size_bytes'])}) from {loaded['file']}."]
    if loaded["converted"]:
        converted = plural(len(loaded["converted"]), "tensor")
        sentences.append(f"Converted the dtype of {converted}.")
    return sentences


def _export(report: dict[str, Any]) -> list[str]:
    parts = report["components"]
    opsets = sorted({part["export"]["opset"] for part in parts})
    names = ", ".join(
        f"{part['name']} ({plural(part['export']['nodes'], 'node')})" for part in parts
    )
    made = f"Recipe {report['recipe']} made {plural(len(parts), 'component')}: {names}."
    return [made, f"Exported to ONNX opset {', '.join(map(str, opsets))}."]


def _rewrite(report: dict[str, Any]) -> list[str]:
    sentences = []
    for part in report["components"]:
        before, after = part["export"]["nodes"], part["rewrite"]["nodes"]
        nodes = plural(after, "node") if before == after else f"{before} → {after} nodes"
        stored = [size(part[stage]["weight_bytes"]) for stage in ("export", "rewrite")]
        weights = stored[1] if stored[0] == stored[1] else f"{stored[0]} → {stored[1]}"
        sentences.append(f"{part['name']}: {nodes}, weights {weights}.")
    return sentences


def _precision(report: dict[str, Any]) -> list[str]:
    if report["quantization"]["asked"]:
        return ["Nothing was asked for in 16 bits."]
    sentences = []
    for part in report["components"]:
        done = part["precision"]
        if done is None:
            continue
        constants = done["constants"]
        stored = f"{size(constants['bytes_before'])} → {size(constants['bytes_after'])}"
        narrow = f"{plural(done['nodes'], 'node')} in {done['precision']}"
        kept = f"{done['kept_nodes']} kept in float32"
        lost = sum(constants["lost"].values())
        sentences.append(
            f"{part['name']}: {narrow}, {kept}, {plural(done['casts'], 'cast')}; constants {stored}"
            + (f", {plural(lost, 'number')} of them became zero." if lost else ".")
        )
    return sentences or ["Everything stays in float32, as asked."]


def kept_rows(report: dict[str, Any]) -> list[KeptRow]:
    """What stays in float32 where less was asked for, by component, module and reason."""
    return [
        KeptRow(
            component=part["name"],
            module=kept["module"] or "the model itself",
            operators=tuple(f"{name} ×{count}" for name, count in kept["operators"].items()),
            why=kept["why"],
        )
        for part in report["components"]
        for kept in (part["precision"] or {"kept": []})["kept"]
    ]


def _quantize(report: dict[str, Any]) -> list[str]:
    rows = quantized_rows(report)
    return [f"{row.component}: {row.outcome}." for row in rows] or ["No integers were asked for."]


def _fuse(report: dict[str, Any]) -> list[str]:
    found = [
        f"{part['name']}: {plural(ours, 'attention')} of {len(part['attention'])} by our kernel."
        for part in report["components"]
        if (ours := sum(block["became"] == "plugin" for block in part["attention"]))
    ]
    return found or ["No attention is computed by our kernel."]


def _build(report: dict[str, Any]) -> list[str]:
    portable = [
        f"{part['name']}: {part['engine']['kind']} engine in {part['engine']['precision']}, "
        f"{size(part['engine']['size_bytes'])}."
        for part in report["components"]
    ]
    return portable + [
        f"{name}: {built_with(item)}, {size(item['engine']['size_bytes'])}."
        for name, item in report["native"].items()
        if item["engine"] is not None
    ]


def _verify(report: dict[str, Any]) -> list[str]:
    found = report["verification"]
    kind = "real" if found["real_inputs"] else "synthetic"
    compared = plural(len(found["components"]), "component")
    sentence = f"Compared {compared} and the whole with PyTorch on "
    sentences = [f"{sentence}{plural(found['samples'], f'{kind} sample')} ({found['origin']})."]
    if found["absent"]:
        runs = plural(len(found["absent"]), "combination")
        sentences.append(f"Compared without optional inputs in {runs}.")
    return sentences


def _measure(report: dict[str, Any]) -> list[str]:
    whole = report["measurement"]["end_to_end"]
    if whole is None:
        return [f"Nothing: {report['measurement'].get('why', 'not asked for')}."]
    rounds = plural(whole["rounds"], "alternating round")
    return [
        f"Timed the engine and PyTorch in {rounds}, end to end {seconds(whole['wall_seconds'])}."
    ]


_SENTENCES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "load": _load,
    "export": _export,
    "rewrite": _rewrite,
    "precision": _precision,
    "quantize": _quantize,
    "fuse": _fuse,
    "build": _build,
    "verify": _verify,
    "measure": _measure,
}
