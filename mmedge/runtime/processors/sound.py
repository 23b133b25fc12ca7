"""What a user calls a sound, as mono float32 samples of the sample rate that the model takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmedge.errors import InputError
from mmedge.runtime.preprocess.audio import read_wav
from mmedge.tensors import Array

EXPECTED = (
    "a path to a .wav file, a 1-D array of floats from -1 to 1, (array, sample rate), "
    "or {'array': ..., 'sampling_rate': ...}"
)


def sounds_of(value: object, *, name: str, sample_rate: int, least: int = 1) -> list[Array]:
    """A sound or a list of sounds as a list of samples.

    least: samples below which the model has nothing to work with.
    Raises InputError for an unreadable file, another sample rate (nothing is resampled), several
    channels, values that are not finite or not a waveform's, and a sound that is too short.
    """
    sounds = [_samples(one, name, sample_rate) for one in _as_list(value, name)]
    for samples in sounds:
        if len(samples) < max(1, least):
            raise InputError(
                f"the sound for input {name!r} is too short",
                found=f"{len(samples)} samples",
                expected=f"at least {max(1, least)}, "
                f"{max(1, least) / sample_rate * 1000:.1f} ms at {sample_rate} Hz",
            )
    return sounds


def _as_list(value: object, name: str) -> list[object]:
    if not isinstance(value, list | tuple):
        return [value]
    if not value:
        raise InputError(f"input {name!r} was given an empty list", expected=EXPECTED)
    if _is_pair(value) or isinstance(value[0], int | float):
        return [value]
    return list(value)


def _is_pair(value: list[object] | tuple[object, ...]) -> bool:
    """(array, sample rate); a list of two sounds is not one."""
    rated = len(value) == 2 and isinstance(value[1], int) and not isinstance(value[1], bool)
    return rated and not isinstance(value[0], int | float)


def _samples(value: object, name: str, sample_rate: int) -> Array:
    rate = sample_rate
    if isinstance(value, str | os.PathLike):
        samples, rate = read_wav(Path(value))
    elif isinstance(value, Mapping):
        samples, rate = _checked(value.get("array"), name), value.get("sampling_rate", sample_rate)
    elif isinstance(value, list | tuple) and _is_pair(value):
        samples, rate = _checked(value[0], name), value[1]
    else:
        samples = _checked(value, name)
    if rate != sample_rate:
        raise InputError(
            f"the sound for input {name!r} has another sample rate than the model",
            found=f"{rate} Hz",
            expected=f"{sample_rate} Hz",
            hint=f"mmedge does not resample: ffmpeg -i INPUT -ar {sample_rate} OUTPUT.wav",
        )
    return samples


def _checked(value: object, name: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal length
        array = np.empty(0, dtype=object)
    kinds = "f" if array is value else "fi"
    if array.ndim != 1 or array.dtype.kind not in kinds:
        given = f"{array.dtype}{list(array.shape)}" if array is value else type(value).__name__
        raise InputError(f"input {name!r} takes a sound", found=given, expected=EXPECTED)
    outside = int((~(np.abs(array) <= 1)).sum())  # counts NaN too
    if outside:
        raise InputError(
            f"the sound for input {name!r} leaves the range of a waveform",
            found=f"{outside} of {array.size} samples are above 1, below -1 or NaN",
            expected=EXPECTED,
            hint="divide 16-bit samples by 32768",
        )
    return array.astype(np.float32)
