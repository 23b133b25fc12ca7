"""What a path holds, before any work: a bundle, a model project, or a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mmedge.checkpoint.describe import describe
from mmedge.errors import CheckpointError, MissingDependencyError, ProjectError
from mmedge.project import PROJECT_FILE, load_project
from mmedge.proposing import is_bare_checkpoint, propose
from mmedge.runtime.manifest import MANIFEST, check_files, read_manifest
from mmedge.storage import directory_bytes


def inspect_path(path: Path) -> dict[str, Any]:
    """Facts about what is at `path`; `kind` is "bundle", "project" or "checkpoint".

    Raises ProjectError if nothing is there, and what reading it raises.
    """
    if not path.exists():
        raise ProjectError(f"{path} does not exist")
    if (path / MANIFEST).is_file():
        return _bundle(path)
    if (path / PROJECT_FILE).is_file() or (path.is_file() and path.suffix == ".toml"):
        return _project(path)
    facts = {"kind": "checkpoint", "path": str(path), **describe(path).to_dict()}
    return facts | {"compile": _proposal(path)} if is_bare_checkpoint(path) else facts


def _proposal(path: Path) -> dict[str, Any]:
    """What `mmedge compile` would do with a checkpoint directory, or why it would not."""
    try:
        found = propose(path)
    except (ProjectError, CheckpointError, MissingDependencyError) as error:
        return {"error": str(error)}
    return {
        "architecture": found.architecture,
        "family": found.proposal.family,
        "recipe": found.recipe,
        "reasons": list(found.proposal.reasons),
        "refused": found.refused,
        "inputs": [msgspec.to_builtins(item) for item in found.project.model_inputs()],
        "axes": msgspec.to_builtins(found.project.axes()),
        "processor": found.processor.processor,
        "processor_notes": list(found.processor.notes),
        "processor_reason": found.processor.reason,
        "raw_inputs": found.raw_inputs(),
    }


def _bundle(path: Path) -> dict[str, Any]:
    """The manifest, after every file was checked against it."""
    manifest = read_manifest(path)
    check_files(path, manifest)
    facts = {"kind": "bundle", "path": str(path), "size_bytes": directory_bytes(path)}
    return facts | dict(msgspec.to_builtins(manifest))


def _project(path: Path) -> dict[str, Any]:
    """The project as it was understood, and what its checkpoint holds."""
    project = load_project(path)
    weights = project.file.model.weights
    recipe = "declared" if project.file.components else "single_graph"
    return {
        "kind": "project",
        "path": str(project.directory),
        "name": project.name,
        "recipe": project.file.recipe.get("name", recipe),
        "inputs": [msgspec.to_builtins(item) for item in project.model_inputs()],
        "axes": msgspec.to_builtins(project.axes()),
        "data": msgspec.to_builtins(project.file.data),
        "checkpoint": describe(project.path(weights)).to_dict() if weights else None,
    }
