"""A project for a Hugging Face checkpoint directory that has no mmedge.toml: proposed by a recipe.

Every recipe that recognises checkpoints is asked, those of `LAST` last; the first that says yes
decides. What the others say is told, so that nobody wonders.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmedge.checkpoint.adapters import base_directory, is_adapter
from mmedge.checkpoint.huggingface_class import config_and_class
from mmedge.checkpoint.huggingface_inputs import config_inputs
from mmedge.checkpoint.processor_files import ProcessorFound, processor_options
from mmedge.data.processed import processed
from mmedge.data.tensor_samples import holds_tensors, tensors_in
from mmedge.data.upstream import upstream_samples
from mmedge.errors import DataError, InputError, ProjectError
from mmedge.project import (
    CHECKPOINT_CONFIG,
    PROJECT_FILE,
    DataTable,
    ModelTable,
    Project,
    ProjectFile,
)
from mmedge.recipes import CheckpointView, Proposal, available_recipes, load_recipe
from mmedge.runtime.processors import load_processor
from mmedge.tensors import Array

# From the particular to the general; recipes of third parties come before all of these.
LAST = (
    "hf_prefix_decoder",
    "hf_dual_encoder",
    "hf_sequence_to_sequence",
    "hf_multimodal_decoder",
    "hf_single_pass",
)


@dataclass(frozen=True)
class Proposed:
    """A project for a checkpoint, and how it came about.

    refused: recipe -> why it is not the one. processor: what the processor files say.
    """

    architecture: str
    project: Project
    recipe: str
    proposal: Proposal
    refused: dict[str, str]
    processor: ProcessorFound

    def raw_inputs(self) -> list[str]:
        """What the bundle takes besides tensors, by name."""
        options = self.project.file.processor
        return list(load_processor(options, where="[processor]").raw_inputs()) if options else []

    def remarks(self) -> tuple[str, ...]:
        """What a user of the bundle must know of how raw inputs become tensors."""
        found = list(self.processor.notes)
        if not self.raw_inputs():
            why = self.processor.reason or "its recipe declares tensors"
            found.append(f"the bundle takes tensors, no images, texts or sounds: {why}")
        return tuple(found)


def is_checkpoint_directory(path: Path) -> bool:
    """Whether `path` is a Hugging Face or adapter directory."""
    return (path / CHECKPOINT_CONFIG).is_file() or is_adapter(path)


def is_bare_checkpoint(path: Path) -> bool:
    """Whether `path` is such a directory without a project file."""
    return is_checkpoint_directory(path) and not (path / PROJECT_FILE).is_file()


def propose(
    directory: Path, *, samples: tuple[str, ...] = (), trust_remote_code: bool = False
) -> Proposed:
    """The project for the checkpoint in `directory`; of an adapter, in its base model's directory.

    samples: the user's own files to look at and to verify with.
    trust_remote_code: run the Python files of the directory where transformers has no class.
    Raises CheckpointError for a directory that cannot be loaded, ProjectError where no recipe
    recognises the architecture, with what each of them said.
    """
    checkpoint = directory = directory.resolve()
    if is_adapter(checkpoint):
        directory = base_directory(checkpoint)
    found = processor_options(directory)
    config, model_class = config_and_class(directory, trusted=trust_remote_code)
    sample, found = _sample(directory, found, samples)
    options = (found.options or {}) if sample else {}
    flat: tuple[str, ...] = ()
    if not sample or (found.reasons and not samples):
        upstream = upstream_samples(directory)
        made = {name: array[:1] for name, array in upstream.tensors.items()}
        if made.keys() > sample.keys():  # all of them, rather than a modality alone
            sample, options, flat = made, {}, upstream.flat
    view = CheckpointView(directory, config, model_class, options, sample, flat)
    refused: dict[str, str] = {}
    for name in _recognising():
        answer = load_recipe(name).propose(view)  # type: ignore[attr-defined]
        if isinstance(answer, Proposal):
            project = Project(directory, _file(checkpoint, view, name, answer, samples))
            return Proposed(model_class.__name__, project, name, answer, refused, found)
        refused[name] = answer
    reasons = "\n".join(f"{name}: {reason}" for name, reason in refused.items())
    raise ProjectError(
        f"no recipe takes {view.model_class.__name__}",
        found=f"{reasons}\nprocessor: {found.reason or 'converted'}",
        where=checkpoint,
        hint=_way_out(checkpoint, config, found, samples),
    )


def _way_out(checkpoint: Path, config: Any, found: ProcessorFound, samples: tuple[str, ...]) -> str:
    """What to do where no recipe takes the checkpoint: give the samples that nothing made."""
    by_hand = f"mmedge init {checkpoint}  writes a {PROJECT_FILE} to fill in by hand"
    if samples or not found.reasons:
        return by_hand
    inputs = config_inputs(checkpoint, config.to_dict())
    known = ", ".join(f"{i.name}: {i.dtype}[{', '.join(map(str, i.shape))}]" for i in inputs)
    return (
        "put the files of its processor beside config.json (processor.save_pretrained writes "
        "them),\nor give tensors of the model: --sample tensors.npz, written by numpy.savez"
        + (f",\nprobably with {known}" if known else "")
    )


def _recognising() -> list[str]:
    names = [name for name in available_recipes() if hasattr(load_recipe(name), "propose")]
    return sorted(names, key=lambda name: LAST.index(name) if name in LAST else -1)


def _sample(
    directory: Path, found: ProcessorFound, samples: tuple[str, ...]
) -> tuple[dict[str, Array], ProcessorFound]:
    """One sample's tensors; none, and why, where the processor is unknown or refuses the samples.

    Raises DataError where the samples are the user's.
    """
    paths = [Path(sample) for sample in samples]
    if holds_tensors(paths):
        return {name: array[:1] for name, array in tensors_in(paths[0]).items()}, found
    if found.options is None:
        if samples:
            raise DataError(
                "nothing converts the samples into the model's tensors",
                found=found.reason,
                where=directory,
                hint="give the model's tensors: --sample tensors.npz, written by numpy.savez;\n"
                "without --sample, transformers' own processor is asked for bundled samples",
            )
        return {}, found
    try:
        _, groups = processed(found.options, directory, paths)
    except (DataError, InputError) as error:
        if samples:
            raise
        detail = ": ".join(str(part) for part in (error.what, error.details["found"]) if part)
        return {}, replace(found, reasons=(*found.reasons, detail))
    return {name: array[:1] for name, array in groups[0].items()}, found


def _file(
    checkpoint: Path,
    view: CheckpointView,
    recipe: str,
    proposal: Proposal,
    samples: tuple[str, ...],
) -> ProjectFile:
    options: dict[str, Any] = {"name": recipe, **proposal.options}
    return ProjectFile(
        name=_slug(checkpoint.name),
        model=ModelTable(weights=Path(os.path.relpath(checkpoint, view.directory)).as_posix()),
        inputs=proposal.inputs,
        axes=proposal.axes,
        recipe=options,
        processor=proposal.processor or view.processor,
        data=DataTable(
            samples=tuple(str(Path(sample).resolve()) for sample in samples),
            upstream=not view.processor and bool(view.sample) and not samples,
        ),
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "model"
