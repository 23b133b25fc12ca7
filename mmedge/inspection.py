"""What a path holds, before any work: a bundle, an engine, a model project, or a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from mmedge.attention_facts import attention_facts
from mmedge.checkpoint.describe import describe
from mmedge.engine_facts import engine_facts, looks_like_engine
from mmedge.errors import CheckpointError, MissingDependencyError, ProjectError
from mmedge.project import PROJECT_FILE, load_project
from mmedge.proposing import is_bare_checkpoint, propose
from mmedge.readable_axes import with_readable_axes
from mmedge.runtime.manifest import (
    MANIFEST,
    bundle_around,
    check_files,
    read_manifest,
)
from mmedge.runtime.processors import load_processor
from mmedge.storage import directory_bytes
from mmedge.wiring import ModelInput


def inspect_path(
    path: Path, *, samples: tuple[str, ...] = (), attention: bool = False
) -> dict[str, Any]:
    """Facts about what is at `path`; `kind` is "bundle", "engine", "project" or "checkpoint".

    samples: what a checkpoint directory would be compiled with.
    attention: of a bundle, how each attention reached its engines.
    Raises ProjectError if nothing is there, and what reading it raises.
    """
    if not path.exists():
        raise ProjectError(f"{path} does not exist")
    if (path / MANIFEST).is_file():
        return _bundle(path, attention=attention)
    if attention:
        raise ProjectError(f"{path} is no bundle: only a bundle tells of its attention")
    if looks_like_engine(path):
        return engine_facts(path)
    _check_in_no_bundle(path)
    if (path / PROJECT_FILE).is_file() or (path.is_file() and path.suffix == ".toml"):
        return _project(path)
    facts = {"kind": "checkpoint", "path": str(path), **describe(path).to_dict()}
    return facts | {"compile": _proposal(path, samples)} if is_bare_checkpoint(path) else facts


def _check_in_no_bundle(path: Path) -> None:
    """Raise ProjectError for a part of a bundle."""
    bundle = bundle_around(path)
    if bundle is not None:
        raise ProjectError(
            f"{path} is a part of a bundle, and nothing by itself",
            found=f"{path.resolve().relative_to(bundle)} of {bundle}",
            expected="a bundle, one of its engines, a project or a checkpoint",
            hint=f"mmedge inspect {bundle}",
        )


def _proposal(path: Path, samples: tuple[str, ...]) -> dict[str, Any]:
    """What `mmedge compile` would do with a checkpoint directory, or why it would not."""
    try:
        found = propose(path, samples=samples)
    except (ProjectError, CheckpointError, MissingDependencyError) as error:
        return {"error": str(error), "exit_code": error.exit_code}
    inputs = found.project.model_inputs()
    return {
        "architecture": found.architecture,
        "family": found.proposal.family,
        "recipe": found.recipe,
        "components": list(found.proposal.components),
        "reasons": list(found.proposal.reasons),
        "refused": found.refused,
        "inputs": msgspec.to_builtins(inputs),
        "axes": msgspec.to_builtins(found.project.axes()),
        "processor": found.processor.processor,
        "processor_notes": list(found.processor.notes),
        "processor_reason": found.processor.reason,
        "raw_inputs": _raw_inputs(found.project.file.processor, inputs),
    }


def _raw_inputs(options: dict[str, Any], inputs: Iterable[ModelInput]) -> dict[str, Any]:
    """What the processor takes by name: of which modality, and the tensors it becomes."""
    if not options:
        return {}
    taken = [item.spec.name for item in inputs]
    raw = load_processor(options, where="[processor]").raw_inputs()
    return {
        name: {"modality": item.modality, "tensors": [t for t in item.tensors if t in taken]}
        for name, item in raw.items()
    }


def _bundle(path: Path, *, attention: bool) -> dict[str, Any]:
    """The manifest, after every file was checked against it."""
    manifest = read_manifest(path)
    check_files(path, manifest)
    wiring = with_readable_axes(manifest.wiring)
    facts = {"kind": "bundle", "path": str(path), "size_bytes": directory_bytes(path)}
    facts |= msgspec.to_builtins(msgspec.structs.replace(manifest, wiring=wiring))
    facts |= {"attention": attention_facts(path, manifest)} if attention else {}
    return facts | {"raw_inputs": _raw_inputs(manifest.processor, wiring.inputs)}


def _project(path: Path) -> dict[str, Any]:
    """The project as it was understood, and what its checkpoint holds."""
    project = load_project(path)
    weights = project.file.model.weights
    recipe = "declared" if project.file.components else "single_graph"
    inputs = project.model_inputs()
    return {
        "kind": "project",
        "path": str(project.directory),
        "name": project.name,
        "recipe": project.file.recipe.get("name", recipe),
        "inputs": msgspec.to_builtins(inputs),
        "axes": msgspec.to_builtins(project.axes()),
        "raw_inputs": _raw_inputs(project.file.processor, inputs),
        "data": msgspec.to_builtins(project.file.data),
        "checkpoint": describe(project.path(weights)).to_dict() if weights else None,
    }
