"""From a project to its trained model: the one entry of this package for the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmedge.checkpoint.adapters import base_directory, merge_adapter
from mmedge.checkpoint.apply import apply_state_dict, check_finite
from mmedge.checkpoint.exported import load_exported
from mmedge.checkpoint.factory import build_model
from mmedge.checkpoint.formats import Format, detect
from mmedge.checkpoint.hashing import (
    checkpoint_files,
    checkpoint_hash,
    checkpoint_path,
    hash_files,
)
from mmedge.checkpoint.huggingface import load_pretrained
from mmedge.checkpoint.record import AppliedWeights, summarize_weights, tensor_entries
from mmedge.checkpoint.weights import read_weights
from mmedge.errors import ProjectError
from mmedge.project import Project

if TYPE_CHECKING:
    import torch

BRING_THEIR_MODEL = {Format.EXPORTED_PROGRAM, Format.HUGGING_FACE, Format.ADAPTER}

__all__ = ["LoadedModel", "checkpoint_hash", "load_model"]


@dataclass(frozen=True)
class LoadedModel:
    """A trained model in evaluation mode, on the CPU, no gradients, and where it came from.

    record: what was loaded, with every decision in `record.notes`.
    sha256: of the checkpoint; see `checkpoint_hash`.
    """

    model: torch.nn.Module
    record: AppliedWeights
    format: Format
    path: Path
    sha256: str


def load_model(
    project: Project,
    *,
    trust_pickle: bool = False,
    trust_remote_code: bool = False,
    scratch: Path | None = None,
) -> LoadedModel:
    """Build the project's model and load its checkpoint into it.

    trust_pickle: run code that the checkpoint contains (a pickled model); only for your own files.
    trust_remote_code: the same for Python files that a Hugging Face directory brings.
    scratch: a directory for large temporary files, on a disk rather than in memory.

    Raises ProjectError where the factory fails or is missing, CheckpointError where the weights
    are damaged or do not fit, UntrustedPickleError where the file needs `trust_pickle`.
    """
    path = checkpoint_path(project)
    format = detect(path)
    if format is Format.EXPORTED_PROGRAM:
        model, record = _load_exported(path, trust_pickle=trust_pickle)
    elif format in {Format.HUGGING_FACE, Format.ADAPTER}:
        base = base_directory(path) if format is Format.ADAPTER else path
        model, record = load_pretrained(base, scratch=scratch, trust_remote_code=trust_remote_code)
        if format is Format.ADAPTER:
            model, record = merge_adapter(model, record, path)
    else:
        model, record = _load_weights(project, path, trust_pickle=trust_pickle)
    if format in BRING_THEIR_MODEL and project.file.model.factory:
        note = f"[model] factory is not used: a {format.value} brings its own model"
        record = replace(record, notes=(*record.notes, note))
    model.eval().requires_grad_(False)
    return LoadedModel(model, record, format, path, hash_files(checkpoint_files(path)))


def _load_exported(path: Path, *, trust_pickle: bool) -> tuple[torch.nn.Module, AppliedWeights]:
    model = load_exported(path, trust_pickle=trust_pickle)
    state = model.state_dict()
    check_finite(model, state, where=path)
    return model, summarize_weights(model, tensor_entries(state))


def _load_weights(
    project: Project, path: Path, *, trust_pickle: bool
) -> tuple[torch.nn.Module, AppliedWeights]:
    """A model from the factory with the weights at `path`, or the trusted pickled model itself."""
    model = build_model(project) if project.file.model.factory else None
    names = model.state_dict().keys() if model is not None else ()
    with project.importable():
        weights = read_weights(path, trust_pickle=trust_pickle, names=names)
    if model is None and weights.module is not None:
        state = weights.module.state_dict()
        check_finite(weights.module, state, where=path)
        return weights.module, summarize_weights(
            weights.module, tensor_entries(state), notes=weights.notes
        )
    if model is None:
        model = build_model(project)
    _check_on_cpu(project, model)
    record = apply_state_dict(model, weights.tensors, where=path)
    return model, replace(record, notes=weights.notes)


def _check_on_cpu(project: Project, model: torch.nn.Module) -> None:
    meta = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    if meta:
        raise ProjectError(
            f"the factory {project.file.model.factory!r} builds the model without memory",
            found=f"{meta[0]} is on the meta device",
            expected="a model on the CPU",
            hint="build it outside `with torch.device('meta')`",
        )
    model.cpu()
