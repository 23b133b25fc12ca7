"""What an engine file is, told without a GPU; with one, its layers, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from mmedge.engine_plan import EnginePlan
from mmedge.errors import BundleError, MmedgeError
from mmedge.runtime.manifest import MANIFEST, Engine, Manifest, read_manifest
from mmedge.runtime.tensorrt.header import is_engine, read_header
from mmedge.runtime.tensorrt.layers import layer_names
from mmedge.storage import sha256_file

SUFFIXES = (".engine", ".plan", ".trt")
REPORT = "report.json"


def looks_like_engine(path: Path) -> bool:
    """Whether a file is to be read as an engine: by its name, or by how it begins."""
    return path.is_file() and (path.suffix in SUFFIXES or is_engine(path))


def engine_facts(path: Path) -> dict[str, Any]:
    """Header, hash, what its bundle says of it, and its layers or why they are not to be had.

    Raises BundleError for a file that is no engine, or a part of one.
    """
    header = read_header(path)
    digest = sha256_file(path)
    layers, reason = _layers(path)
    return {
        "kind": "engine",
        "path": str(path),
        "library": header.library,
        "version": header.version,
        "compute_capabilities": header.compute_capabilities,
        "size_bytes": path.stat().st_size,
        "weights_bytes": header.weights_bytes,
        "sha256": digest,
        "bundle": _in_bundle(path, digest),
        "layers": layers,
        "no_layers": reason,
    }


def _in_bundle(path: Path, digest: str) -> dict[str, Any] | None:
    """What the bundle that the file lies in says of it; None where it lies in none."""
    place = path.resolve()
    for directory in (place.parent, place.parent.parent):
        if (directory / MANIFEST).is_file():
            try:
                manifest = read_manifest(directory)
            except BundleError as error:  # the engine is not the worse for it
                return {"directory": str(directory), "component": None, "error": error.what}
            file = place.relative_to(directory).as_posix()
            return _entry(manifest, directory, file, digest)
    return None


def _entry(manifest: Manifest, directory: Path, file: str, digest: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"directory": str(directory), "name": manifest.name, "component": None}
    for component, engines in manifest.engines.items():
        for engine in engines:
            if engine.file == file:
                spec = msgspec.to_builtins(manifest.wiring.component(component))
                facts |= {
                    "component": component,
                    "unchanged": manifest.files[file] == digest,
                    "precision": engine.precision,
                    "built_with": engine.built_with,
                    "options": engine.options,
                    "inputs": spec["inputs"],
                    "outputs": spec["outputs"],
                    "memory": _memory(directory, component, file),
                }
                plan = _plan(manifest, component, engine)
                facts["plan"] = None if plan is None else msgspec.to_builtins(plan)
    return facts


def _plan(manifest: Manifest, component: str, engine: Engine) -> EnginePlan | None:
    """The plan that the engine was built by."""
    for plans in manifest.plans.values():
        plan = plans.get(component)
        if plan is not None and plan.digest() == engine.plan:
            return plan
    return None


def _memory(directory: Path, component: str, file: str) -> dict[str, int]:
    """As its builder told it, if it was built when the bundle was compiled."""
    engine = (read_report(directory) or {}).get("native", {}).get(component, {}).get("engine")
    memory: dict[str, int] = engine["memory"] if engine and engine["file"] == file else {}
    return memory


def read_report(directory: Path) -> dict[str, Any] | None:
    """The bundle's report.json; None where it has none that can be read."""
    try:
        report = json.loads((directory / REPORT).read_bytes())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def _layers(path: Path) -> tuple[list[str] | None, str | None]:
    """The layers, or why they are not to be had here."""
    try:
        return layer_names(path), None
    except MmedgeError as error:
        found = error.details["found"]
        return None, f"{error.what}: {found}" if found else error.what
