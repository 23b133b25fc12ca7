"""From a project's data loaders to batches of preprocessed samples.

A loader is a function without arguments that returns an iterable of samples. A sample is a
dict of inputs, or a pair (inputs, target). An input is one example: raw (a photograph, a
sentence, a sound), which goes through the declared preprocessing, or an array of the declared
shape without its leading "batch" axis.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mmedge.errors import DataError, InputError
from mmedge.project import Project
from mmedge.runtime.preprocess import preprocess
from mmedge.stage import Samples
from mmedge.tensors import Array, Axis, TensorSpec
from mmedge.wiring import ModelInput

SYNTHETIC_COUNT = 8
SEED = 0


def load_samples(project: Project, purpose: str) -> Samples:
    """The samples of `[data] calibration` or `evaluation`; each stands in for the other.

    Without either, synthetic samples that say so. Raises DataError for an empty or wrong set.
    """
    table = project.file.data
    named = {"calibration": table.calibration, "evaluation": table.evaluation}
    other = "evaluation" if purpose == "calibration" else "calibration"
    if named[purpose]:
        return _from_loader(project, named[purpose])
    if named[other] and purpose == "calibration":
        return _from_loader(project, named[other])
    return _synthetic(project)


def _from_loader(project: Project, reference: str) -> Samples:
    loader = project.load_callable(reference)
    try:
        with project.importable():
            samples = list(loader())
    except Exception as error:
        raise DataError(
            f"the data loader {reference} failed",
            found=f"{type(error).__name__}: {error}",
            where=project.directory,
        ) from error
    if not samples:
        raise DataError(
            f"the data loader {reference} returned no samples",
            found="an empty set",
            expected="at least one sample",
            where=project.directory,
            hint="remove it from [data] if there are none; mmedge then uses synthetic inputs",
        )
    inputs, targets = _parted(samples, reference)
    arrays = {
        model_input.spec.name: _column(project, model_input, inputs, reference)
        for model_input in project.model_inputs()
        if model_input.indicates is None or model_input.spec.name in inputs[0]
    }
    return Samples(arrays, targets, len(samples), reference, real=True)


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


def _column(
    project: Project, model_input: ModelInput, inputs: list[dict[str, Any]], reference: str
) -> Array:
    """One input over all samples, as a batch."""
    name = model_input.spec.name
    rows = []
    for index, values in enumerate(inputs):
        if name not in values:
            raise DataError(
                f"sample {index} of {reference} has no input {name!r}",
                found=", ".join(values),
                expected=", ".join(i.spec.name for i in project.model_inputs()),
            )
        try:
            rows.append(_row(project, model_input, values[name]))
        except InputError as error:
            raise DataError(
                f"sample {index} of {reference}: {error.what}",
                found=error.details["found"],
                expected=error.details["expected"],
                hint=error.details["try"],  # type: ignore[arg-type]
            ) from error
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise DataError(
            f"samples of {reference} differ in the shape of {name!r}",
            found=", ".join(map(str, sorted(shapes)[:5])),
            expected="one shape, so that samples can be batched",
            hint="pad or crop them in the loader",
        )
    batch: Array = np.concatenate(rows)
    _check_finite(batch, name, reference)
    return batch


def _row(project: Project, model_input: ModelInput, value: Any) -> Array:
    """One example as a batch of one."""
    spec = model_input.spec
    # The leading axis counts examples; which batches they make is decided later.
    one = TensorSpec(spec.name, spec.dtype, (1, *spec.shape[1:]))
    if isinstance(value, (np.ndarray, np.generic, int, float)):
        array = np.asarray(value)
        if array.dtype == np.dtype(spec.dtype) and array.ndim == len(spec.shape) - 1:
            one.check(array[None], project.axes(), {})
            return array[None]
    array = preprocess(model_input, value, files=project.directory)
    one.check(array, project.axes(), {})
    return array


def _check_finite(batch: Array, name: str, reference: str) -> None:
    if batch.dtype.kind == "f" and not np.isfinite(batch).all():
        bad = np.flatnonzero(~np.isfinite(batch).reshape(len(batch), -1).all(axis=1))
        raise DataError(
            f"samples of {reference} hold NaN or infinity in {name!r}",
            found=f"{len(bad)} of {len(batch)} samples, the first is number {bad[0]}",
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
    return Samples(arrays, None, SYNTHETIC_COUNT, "synthetic", real=False)


def _size(dim: int | str, axes: dict[str, Axis]) -> int:
    return dim if isinstance(dim, int) else max(2, axes[dim].opt)


def _random(rng: np.random.Generator, shape: list[int], dtype: str) -> Array:
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)
