"""From a project's data loaders to batches of preprocessed samples.

A loader is a function without arguments that returns an iterable of samples. A sample is a
dict of inputs, or a pair (inputs, target). An input is one example: raw (a photograph, a
sentence, a sound), which goes through the declared preprocessing, or an array (a CPU tensor, a
nested list of numbers) of the declared shape without its leading "batch" axis. Samples may differ
along named axes; they are kept in groups of one shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np

from mmedge.data.processed import samples_of_processor, samples_of_upstream
from mmedge.data.tensor_samples import holds_tensors, samples_of_tensors
from mmedge.errors import DataError, InputError
from mmedge.project import Project
from mmedge.project_modules import user_line
from mmedge.runtime.preprocess import preprocess
from mmedge.runtime.preprocess.plain_values import as_array
from mmedge.stage import Samples
from mmedge.tensors import Array, Axis, TensorSpec
from mmedge.wiring import ModelInput

SYNTHETIC_COUNT = 8
# A loader with more is taken to never end.
MOST_SAMPLES = 100_000
SEED = 0


def load_samples(project: Project, purpose: str) -> Samples:
    """The samples of `[data] calibration` or `evaluation`; each stands in for the other.

    Without either, the project's samples, which are tensors or go through its processor (so do
    the bundled ones); without a processor, synthetic samples that say so. Raises DataError for an
    empty or wrong set.
    """
    table = project.file.data
    named = {"calibration": table.calibration, "evaluation": table.evaluation}
    other = "evaluation" if purpose == "calibration" else "calibration"
    if named[purpose]:
        return _from_loader(project, named[purpose])
    if named[other] and purpose == "calibration":
        return _from_loader(project, named[other])
    if holds_tensors([project.directory / path for path in table.samples]):
        return samples_of_tensors(project)
    if project.file.processor:
        return samples_of_processor(project)
    if table.upstream:
        return samples_of_upstream(project)
    return _synthetic(project)


def _from_loader(project: Project, reference: str) -> Samples:
    samples = _loaded(project, reference)
    inputs, targets = _parted(samples, reference)
    taken = [
        model_input
        for model_input in project.model_inputs()
        if model_input.indicates is None or model_input.spec.name in inputs[0]
    ]
    examples = [
        _example(project, taken, inputs, number, reference) for number in range(len(inputs))
    ]
    for model_input in taken:
        _check_finite(examples, model_input.spec.name, reference)
    numbers = _equally_shaped(examples)
    groups = tuple(
        {name: np.concatenate([examples[i][name] for i in group]) for name in examples[0]}
        for group in numbers
    )
    if targets is not None:
        targets = [targets[i] for group in numbers for i in group]
    return Samples(groups, targets, len(samples), reference, real=True)


def _loaded(project: Project, reference: str) -> list[Any]:
    """What the loader gives; DataError where it raises, gives nothing, or never ends."""
    loader = project.load_callable(reference)
    try:
        with project.importable():
            returned = loader()
            samples = None if returned is None else list(islice(returned, MOST_SAMPLES + 1))
    except Exception as error:
        raise DataError(
            f"the data loader {reference} failed",
            found=f"{type(error).__name__}: {error}",
            where=user_line(project.directory, error) or project.directory,
        ) from error
    if samples is None:
        raise DataError(
            f"the data loader {reference} returned None",
            expected="an iterable of samples: a list, or a generator",
            where=project.directory,
            hint="return the list of samples, or yield each one",
        )
    if len(samples) > MOST_SAMPLES:
        raise DataError(
            f"the data loader {reference} does not end",
            found=f"more than {MOST_SAMPLES} samples",
            expected=f"at most {MOST_SAMPLES}; a few hundred are enough for most models",
            where=project.directory,
            hint="itertools.islice(samples, 500)",
        )
    if not samples:
        raise DataError(
            f"the data loader {reference} returned no samples",
            found="an empty set",
            expected="at least one sample",
            where=project.directory,
            hint="remove it from [data] if there are none; mmedge then uses synthetic inputs",
        )
    return samples


def _parted(
    samples: Iterable[Any], reference: str
) -> tuple[list[dict[str, Any]], list[Any] | None]:
    inputs, targets = [], []
    for index, sample in enumerate(samples):
        pair = isinstance(sample, tuple) and len(sample) == 2
        values = sample[0] if pair else sample
        if not isinstance(values, dict):
            raise DataError(
                f"sample {index} of {reference} is not a sample",
                found=type(sample).__name__,
                expected="a dict of inputs, or (inputs, target)",
            )
        inputs.append(values)
        if pair:
            targets.append(sample[1])
    if targets and len(targets) != len(inputs):
        raise DataError(
            f"only some samples of {reference} have a target",
            found=f"{len(targets)} of {len(inputs)}",
            expected="all or none",
        )
    return inputs, targets or None


def _example(
    project: Project,
    taken: list[ModelInput],
    inputs: list[dict[str, Any]],
    number: int,
    reference: str,
) -> dict[str, Array]:
    """One sample as a batch of one; its inputs agree about the named axes."""
    values = inputs[number]
    sizes: dict[str, int] = {}
    example = {}
    for model_input in taken:
        name = model_input.spec.name
        if name not in values:
            raise DataError(
                f"sample {number} of {reference} has no input {name!r}",
                found=", ".join(values),
                expected=", ".join(i.spec.name for i in project.model_inputs()),
            )
        try:
            example[name] = _row(project, model_input, values[name], sizes)
        except InputError as error:
            shapes = _shapes([v[name] for v in inputs if name in v], model_input.spec)
            raise DataError(
                f"sample {number} of {reference}: {error.what}",
                found=f"{error.details['found']}{shapes}",
                expected=error.details["expected"],
                hint=error.details["try"],  # type: ignore[arg-type]
            ) from error
    return example


def _row(project: Project, model_input: ModelInput, value: Any, sizes: dict[str, int]) -> Array:
    """One example as a batch of one."""
    spec = model_input.spec
    # The leading axis counts examples; which batches they make is decided later.
    one = TensorSpec(spec.name, spec.dtype, (1, *spec.shape[1:]))
    if not (model_input.preprocess and isinstance(value, list | tuple)):
        value = as_array(value, spec)
    is_array = isinstance(value, np.ndarray | np.generic) and np.ndim(value) == len(spec.shape) - 1
    if is_array and (value.dtype == np.dtype(spec.dtype) or not model_input.preprocess):
        array = np.asarray(value)[None]
    else:
        array = preprocess(model_input, value, files=project.directory)
    one.check(array, project.axes(), sizes)
    return array


def _shapes(values: list[Any], spec: TensorSpec) -> str:
    """The shapes that an input has over all samples, where they are several along fixed axes."""
    counts = Counter(_fixed(v.shape, spec) for v in values if hasattr(v, "shape"))
    if len(counts) < 2:
        return ""
    listed = [f"{shape} in {count}" for shape, count in counts.most_common(5)]
    more = ", ..." if len(counts) > len(listed) else ""
    return f"; over all samples, {', '.join(listed)}{more}"


def _fixed(shape: tuple[int, ...], spec: TensorSpec) -> str:
    """An example's shape, with the names of the axes that may differ."""
    declared = spec.shape[1:] if len(shape) == len(spec.shape) - 1 else shape
    dims = [dim if isinstance(dim, str) else n for dim, n in zip(declared, shape, strict=True)]
    return f"[{', '.join(map(str, dims))}]"


def _equally_shaped(examples: list[dict[str, Array]]) -> list[list[int]]:
    """Numbers of the examples, those of one shape together."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for number, example in enumerate(examples):
        shapes = tuple(array.shape for array in example.values())
        groups.setdefault(shapes, []).append(number)
    return list(groups.values())


def _check_finite(examples: list[dict[str, Array]], name: str, reference: str) -> None:
    bad = [
        number
        for number, example in enumerate(examples)
        if example[name].dtype.kind == "f" and not np.isfinite(example[name]).all()
    ]
    if bad:
        raise DataError(
            f"samples of {reference} hold NaN or infinity in {name!r}",
            found=f"{len(bad)} of {len(examples)} samples, the first is number {bad[0]}",
            expected="finite values",
        )


def _synthetic(project: Project) -> Samples:
    """Random inputs of the declared shapes: floats are standard normal, integers 0 or 1."""
    rng = np.random.default_rng(SEED)
    axes = project.axes()
    arrays = {}
    for model_input in project.model_inputs():
        if model_input.indicates is None:
            # The leading axis counts the samples, whatever it is called.
            shape = [SYNTHETIC_COUNT, *(_size(dim, axes) for dim in model_input.spec.shape[1:])]
            arrays[model_input.spec.name] = _random(rng, shape, model_input.spec.dtype)
    return Samples((arrays,), None, SYNTHETIC_COUNT, "synthetic", real=False)


def _size(dim: int | str, axes: dict[str, Axis]) -> int:
    return dim if isinstance(dim, int) else max(2, axes[dim].opt)


def _random(rng: np.random.Generator, shape: list[int], dtype: str) -> Array:
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
