"""report.json: everything a compile did, as plain data."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from mmedge.artifact import Artifact, as_plain
from mmedge.project import Project
from mmedge.runtime.processors import load_processor
from mmedge.targets import Target

SCHEMA = 1


def build_report(
    artifact: Artifact, project: Project, target: Target, timeline: list[dict[str, Any]]
) -> dict[str, Any]:
    """The content of report.json.

    timeline: stage, seconds, whether it came from the cache, peak memory; in order.
    """
    records = artifact.records
    report = {
        "schema": SCHEMA,
        "name": artifact.provenance.name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "target": target,
        "provenance": artifact.provenance,
        "checkpoint": {"file": _checkpoint_name(project), **records["load"]},
        "recipe": project.file.recipe.get("name", "single_graph"),
        "inputs": artifact.wired.inputs,
        "outputs": artifact.wired.outputs,
        "axes": artifact.wired.axes,
        "generation": artifact.wired.generation,
        "raw_inputs": _raw_inputs(project),
        "substitutes": _substitutes(artifact),
        "components": [_component(artifact, name) for name in artifact.engines],
        "native": {name: _native(artifact, name) for name in artifact.plans},
        "quantization": records["quantize"],
        "unused_layers": artifact.layers.get("", ()),
        "verification": records["verify"],
        "measurement": records["measure"],
        "stages": timeline,
        "refused": _refused(artifact),
    }
    plain: dict[str, Any] = msgspec.to_builtins(report, enc_hook=as_plain)
    return plain


def _checkpoint_name(project: Project) -> str:
    """The checkpoint as the project names it; of a directory that is the project, its own name."""
    weights = project.file.model.weights
    return project.directory.name if weights == "." else weights


def _raw_inputs(project: Project) -> dict[str, str]:
    """Tensor -> the raw input that the processor makes it from."""
    options = project.file.processor
    if not options:
        return {}
    raw = load_processor(options, where="[processor]").raw_inputs()
    return {tensor: name for name, item in raw.items() for tensor in item.tensors}


def _substitutes(artifact: Artifact) -> dict[str, list[str]]:
    """Optional input -> sentences on what stands in for it where it is absent."""
    found: dict[str, list[str]] = {}
    for item in artifact.wired.inputs:
        name = item.spec.name
        users = {c.name for c in artifact.wired.components if name in c.bindings.values()}
        for source, substitute in artifact.wired.substitutes.items():
            if item.optional and (source == name or source.partition(".")[0] in users):
                value = "a learned value stands" if substitute.file else "zeros stand"
                found.setdefault(name, []).append(f"{value} in for {source}")
    return found


def _component(artifact: Artifact, name: str) -> dict[str, Any]:
    spec = artifact.wired.component(name)
    engine = artifact.engines[name]
    records = artifact.records
    return {
        "name": name,
        "modality": spec.modality,
        "inputs": spec.inputs,
        "outputs": spec.outputs,
        "bindings": spec.bindings,
        "engine": {
            "kind": engine.kind,
            "file": f"engines/{Path(engine.path).name}",
            "precision": engine.precision,
            "size_bytes": engine.size_bytes,
            "built_with": engine.built_with,
        },
        "export": records["export"][name],
        "rewrite": records["rewrite"][name],
        "precision": records["precision"]["components"].get(name),
        "weight_bytes": records["fuse"]["weight_bytes"][name],
        "attention": records["fuse"]["components"].get(name, ()),
        "layers": artifact.layers.get(name, ()),
    }


def _native(artifact: Artifact, name: str) -> dict[str, Any]:
    """The target's own engine of a component: how it is built, and the file if it was."""
    built = artifact.native_engines.get(name)
    engine = None if built is None else {**msgspec.structs.asdict(built), "path": None}
    if engine is not None and built is not None:
        engine["file"] = f"engines/{Path(built.path).name}"
    return {"plan": artifact.plans[name], "engine": engine}


def _refused(artifact: Artifact) -> list[dict[str, str]]:
    """What was asked for or possible, and not done, with the reason."""
    refused = []
    dropped = set(artifact.graphs) - set(artifact.engines)
    for name in sorted(dropped):
        why = "no output of the model depends on it"
        refused.append({"what": f"component {name}", "why": why})
    for layer in artifact.layers.get("", ()):
        refused.append({"what": f"layer {layer.module}", "why": layer.why})
    return refused
