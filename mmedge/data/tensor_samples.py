"""Samples that are the model's own tensors already: .npz files, where no processor makes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from mmedge.errors import DataError, InputError
from mmedge.project import Project
from mmedge.sample_files import TENSORS, WHERE, read_sample
from mmedge.stage import Samples
from mmedge.tensors import Array

HINT = 'numpy.savez("tensors.npz", input_ids=..., pixel_values=...), the first axis counts examples'
# What upstream's processors make beside the dtypes that models take.
AS_TAKEN = {np.dtype(np.int32): np.int64, np.dtype(np.float64): np.float32}
Tensors = dict[str, Array]


def holds_tensors(paths: Iterable[Path]) -> bool:
    """Whether the samples are tensors; DataError where some are and others are not."""
    kinds = {read_sample(path)[0] for path in paths}
    if TENSORS in kinds and len(kinds) > 1:
        raise DataError(
            "tensors of the model, and other samples beside them",
            found=", ".join(sorted(kinds)),
            expected="one or the other",
            where=WHERE,
        )
    return TENSORS in kinds


def tensors_in(path: Path) -> Tensors:
    """The named arrays of the .npz at `path`, each [examples, ...].

    Raises DataError for what is no such file, holds no array of numbers, one that is not finite,
    or arrays of different numbers of examples.
    """
    arrays = {name: _as_taken(array) for name, array in _read(path).items()}
    wrong = [name for name, a in arrays.items() if a.ndim == 0 or a.dtype.kind not in "fiub"]
    counts = {name: len(array) for name, array in arrays.items() if name not in wrong}
    if wrong or not counts or 0 in counts.values() or len(set(counts.values())) > 1:
        shapes = ", ".join(f"{name}: {a.dtype}{list(a.shape)}" for name, a in arrays.items())
        raise DataError(
            f"{path.name} does not hold the same number of examples for each input",
            found=shapes or "no arrays",
            expected="arrays of numbers, [examples, ...]",
            where=path,
            hint=HINT,
        )
    infinite = [name for name, a in arrays.items() if a.dtype.kind == "f" and not _finite(a)]
    if infinite:
        raise DataError(f"{path.name} holds NaN or infinity", found=", ".join(infinite), where=path)
    return arrays


def samples_of_tensors(project: Project) -> Samples:
    """The project's .npz files, each a group; DataError for what the model does not take."""
    paths = [project.directory / path for path in project.file.data.samples]
    groups = tuple(_fitting(project, path) for path in paths)
    count = sum(len(next(iter(group.values()))) for group in groups)
    return Samples(groups, None, count, f"{WHERE} (tensors)", real=True)


def _fitting(project: Project, path: Path) -> Tensors:
    arrays, sizes = tensors_in(path), dict[str, int]()
    inputs = {item.spec.name: item for item in project.model_inputs()}
    missing = [n for n, item in inputs.items() if n not in arrays and not item.optional]
    if missing or arrays.keys() - inputs.keys():
        raise DataError(
            f"{path.name} does not hold what the model takes",
            found=", ".join(arrays),
            expected=", ".join(inputs),
            where=path,
            hint=HINT,
        )
    try:
        for name, array in arrays.items():
            inputs[name].spec.check(array, project.axes(), sizes)
    except InputError as error:
        raise DataError(
            f"{path.name}: {error.what}",
            found=error.details["found"],
            expected=error.details["expected"],
            where=path,
            hint=error.details["try"],  # type: ignore[arg-type]
        ) from error
    return {name: arrays[name] for name in inputs if name in arrays}


def _read(path: Path) -> Tensors:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("one array without a name, as numpy.save writes it")
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path.name} does not hold named arrays", found=error, where=path, hint=HINT
        ) from error


def _as_taken(array: Array) -> Array:
    with np.errstate(over="ignore"):  # infinity is told of by name
        return array.astype(AS_TAKEN.get(array.dtype, array.dtype), copy=False)


def _finite(array: Array) -> bool:
    return bool(np.isfinite(array).all())
