"""Raw samples through the checkpoint's own processor, in groups of one shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmedge.data import page_boxes
from mmedge.data.raw_samples import RawSamples, bundled_origin, raw_samples
from mmedge.data.sample_remarks import sample_remarks
from mmedge.data.upstream import upstream_tensors
from mmedge.errors import DataError, InputError
from mmedge.project import Project
from mmedge.runtime.processors import Processor, load_processor
from mmedge.stage import Samples
from mmedge.tensors import Array, Dim
from mmedge.wiring import ModelInput

WHERE = "[processor]"
SEED = 0
Tensors = dict[str, Array]


def samples_of_processor(project: Project) -> Samples:
    """The project's raw samples as tensors that its processor makes.

    Raises DataError where the processor refuses a sample.
    """
    options = project.file.processor
    paths = [project.directory / path for path in project.file.data.samples]
    raw, groups = processed(options, project.processor_directory, paths)
    others = [item for item in project.model_inputs() if item.spec.name not in groups[0]]
    made = [group | _synthetic(project, others, group) for group in groups]
    kept = tuple({name: group[name] for name in project.file.inputs} for group in made)
    count = sum(len(next(iter(group.values()))) for group in kept)
    return Samples(kept, None, count, raw.origin + _added(others), real=not others)


def _synthetic(project: Project, items: list[ModelInput], group: Tensors) -> Tensors:
    """What no processor makes, for as many examples as the group has: boxes, or 0..1 uniformly.

    It is as long as the group is along an axis that they share.
    """
    rng = np.random.default_rng(SEED)
    count = len(next(iter(group.values())))
    sizes: dict[Dim, int] = {name: axis.opt for name, axis in project.axes().items()}
    for item in project.model_inputs():
        if item.spec.name in group:
            own = group[item.spec.name].shape
            sizes |= {item.spec.shape[place]: own[place] for place in item.spec.dynamic_axes}
    made: Tensors = {}
    for item in items:
        name, dtype = item.spec.name, item.spec.dtype
        shape = [dim if isinstance(dim, int) else sizes[dim] for dim in item.spec.shape[1:]]
        if name == page_boxes.NAME:
            made[name] = page_boxes.page_boxes(count, shape[0], width=shape[1], dtype=dtype)
        else:
            made[name] = rng.random((count, *shape)).astype(dtype)
    return made


def samples_of_upstream(project: Project) -> Samples:
    """Bundled samples as tensors of transformers' own processor; DataError where it makes none.

    What it does not make, as for a processor of ours, is synthetic.
    """
    found = upstream_tensors(project.processor_directory)
    taken = {name: found[name] for name in project.file.inputs if name in found}
    others = [item for item in project.model_inputs() if item.spec.name not in taken]
    unknown = [item.spec.name for item in others if not _can_be_made_up(item)]
    if not taken or unknown:
        raise DataError(
            "the checkpoint's processor in transformers does not make the declared inputs",
            found=", ".join(found) or "nothing",
            expected=", ".join(project.file.inputs),
            where=project.directory,
            hint="declare [data] evaluation: a loader of samples",
        )
    taken, cut = _within_axes(project, taken)
    made = taken | _synthetic(project, others, taken)
    group = {name: made[name] for name in project.file.inputs}
    origin = bundled_origin([i.modality for i in project.model_inputs() if i.spec.name in taken])
    origin += ", by transformers' processor" + cut + _added(others)
    count = len(next(iter(group.values())))
    return Samples((group,), None, count, origin, real=not others)


def _can_be_made_up(item: ModelInput) -> bool:
    """A measure can, and a place on a page; a token means something."""
    return np.dtype(item.spec.dtype).kind == "f" or item.spec.name == page_boxes.NAME


def _within_axes(project: Project, group: Tensors) -> tuple[Tensors, str]:
    """The tensors, cut where one is longer than its axis may be; and what was cut, for the origin.

    (A tokenizer need not know how many positions the model has.)
    """
    axes, within, cut = project.axes(), dict(group), {}
    for item in project.model_inputs():
        tensor = within.get(item.spec.name)
        for place, name in item.spec.dynamic_axes.items():
            if place and tensor is not None and tensor.shape[place] > axes[name].max:
                tensor = tensor.take(range(axes[name].max), axis=place)
                within[item.spec.name], cut[name] = tensor, axes[name].max
    return within, "".join(f", {name} cut to {most}" for name, most in cut.items())


def _added(others: list[ModelInput]) -> str:
    """What of the samples nothing made, for their origin."""
    return f"; synthetic {', '.join(item.spec.name for item in others)}" if others else ""


def processed(
    options: dict[str, Any], files: Path, paths: list[Path]
) -> tuple[RawSamples, list[Tensors]]:
    """Raw samples, and their tensors in groups of one shape; padded together where they can be."""
    processor = load_processor(options, where=WHERE)
    raw = raw_samples(processor.raw_inputs(), options, paths=paths)
    with sample_remarks(raw.origin, files):
        together = _together(processor, raw, files)
        groups = [together] if together is not None else _one_by_one(processor, raw, files)
    return raw, groups


def _together(processor: Processor, raw: RawSamples, files: Path) -> Tensors | None:
    """All samples as one batch; None where their tensors have different shapes."""
    first = raw.values[0]
    if any(sample.keys() != first.keys() for sample in raw.values):
        return None
    values = {name: [sample[name] for sample in raw.values] for name in first}
    try:
        tensors = processor.convert(values, files=files)
    except InputError:
        return None
    return tensors if {len(t) for t in tensors.values()} == {len(raw.values)} else None


def _one_by_one(processor: Processor, raw: RawSamples, files: Path) -> list[Tensors]:
    groups: dict[tuple[Any, ...], list[Tensors]] = {}
    for number, sample in enumerate(raw.values):
        try:
            # As lists of one, so that a list that is one value is not taken for a batch.
            values = {name: [value] for name, value in sample.items()}
            tensors = processor.convert(values, files=files)
        except InputError as error:
            raise DataError(
                f"the processor does not take sample {number} of {raw.origin}",
                found=": ".join(str(p) for p in (error.what, error.details["found"]) if p),
                expected=error.details["expected"],
                where=error.details["where"],
                hint=error.details["try"],  # type: ignore[arg-type]
            ) from error
        shape = tuple((name, array.shape) for name, array in sorted(tensors.items()))
        groups.setdefault(shape, []).append(tensors)
    return [
        {name: np.concatenate([tensors[name] for tensors in group]) for name in group[0]}
        for group in groups.values()
    ]
