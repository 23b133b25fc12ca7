"""What a user calls a sound, as mono float32 samples of the sample rate that the model takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mmedge.errors import InputError
from mmedge.runtime.preprocess.audio import check_rate, listed, read_wav, waveform
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
    if isinstance(value, list | tuple) and _is_pair(value):
        return [value]
    return listed(value, name=name, expected=EXPECTED)


def _is_pair(value: list[object] | tuple[object, ...]) -> bool:
    """(array, sample rate); a list of two sounds is not one."""
    rated = len(value) == 2 and isinstance(value[1], int) and not isinstance(value[1], bool)
    return rated and not isinstance(value[0], int | float)


def _samples(value: object, name: str, sample_rate: int) -> Array:
    rate = sample_rate
    if isinstance(value, str | os.PathLike):
        samples, rate = read_wav(Path(value))
    elif isinstance(value, Mapping):
        samples = waveform(value.get("array"), name=name, expected=EXPECTED)
        rate = value.get("sampling_rate", sample_rate)
    elif isinstance(value, list | tuple) and _is_pair(value):
        samples, rate = waveform(value[0], name=name, expected=EXPECTED), value[1]
    else:
        samples = waveform(value, name=name, expected=EXPECTED)
    check_rate(rate, name=name, sample_rate=sample_rate)
    return samples
