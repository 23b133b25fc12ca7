"""From raw values (a photograph, a sentence, a sound) to the tensors that a model declares.

Each kind is one file with an options struct: `[inputs.NAME.preprocess] kind = "image"`, and the
struct's fields are the other keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from mmedge.errors import InputError, ProjectError
from mmedge.runtime.preprocess.audio import WaveformOptions
from mmedge.runtime.preprocess.image import ImageOptions
from mmedge.runtime.preprocess.plain_values import as_array, fit_hint
from mmedge.runtime.preprocess.text import TextOptions
from mmedge.strict import decode, nearest
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ModelInput

KINDS: dict[str, type[ImageOptions] | type[TextOptions] | type[WaveformOptions]] = {
    "image": ImageOptions,
    "text": TextOptions,
    "waveform": WaveformOptions,
}


class Preprocessor(Protocol):
    """The options of one kind."""

    def files(self) -> tuple[str, ...]:
        """Files that it reads, relative to the project or the bundle."""
        ...

    def convert(self, value: object, spec: TensorSpec, files: Path) -> Array:
        """`value`, or a list of such, as a batch; InputError where it can't be."""
        ...


def preprocess(model_input: ModelInput, value: object, *, files: Path) -> Array:
    """`value` as the declared tensor; one raw value gives a batch of one, a list a larger one.

    An array that has the declared dtype and rank is returned as it is; a CPU tensor of another
    library counts as one, and so does a nested list of numbers where no preprocessing takes
    lists. files: the directory that `preprocess_files` are relative to.
    Raises InputError for an unfit value, ProjectError for impossible preprocessing options,
    MissingDependencyError where the library that reads such values is not installed.
    """
    spec = model_input.spec
    if not (model_input.preprocess and isinstance(value, list | tuple)):
        value = as_array(value, spec)
    if isinstance(value, np.ndarray) and _is_declared(value, spec):
        return value
    if not model_input.preprocess:
        raise InputError(
            f"input {spec.name!r} takes a tensor; it declares no preprocessing of raw values",
            found=_describe(value),
            expected=f"a numpy array {spec}",
            hint=fit_hint(value, spec),
        )
    result = preprocessor(model_input).convert(value, spec, files)
    spec.check(result, {}, {})
    return result


def preprocess_files(model_input: ModelInput) -> list[str]:
    """Relative names of the files that must travel with the model to preprocess this input."""
    return list(preprocessor(model_input).files()) if model_input.preprocess else []


def preprocessor(model_input: ModelInput) -> Preprocessor:
    """The decoded options of the input's kind; ProjectError names an unknown kind or key."""
    where = f"[inputs.{model_input.spec.name}.preprocess]"
    options = dict(model_input.preprocess)
    kind = options.pop("kind", None)
    if kind not in KINDS:
        raise ProjectError(
            f"unknown kind of preprocessing {kind!r}",
            where=where,
            hint=nearest(str(kind), list(KINDS)),
        )
    decoded: Preprocessor = decode(options, KINDS[str(kind)], where=where)
    return decoded


def _is_declared(value: Array, spec: TensorSpec) -> bool:
    return value.dtype == np.dtype(spec.dtype) and value.ndim == len(spec.shape)


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__
