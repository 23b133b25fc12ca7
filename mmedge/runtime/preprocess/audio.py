"""Sound to a waveform: mono, float, between -1 and 1."""

from __future__ import annotations

import os
import wave
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from mmedge.errors import InputError, ProjectError
from mmedge.tensors import Array, TensorSpec

EXPECTED = "a path to a .wav file, or a 1-D array of floats from -1 to 1"
Positive = Annotated[int, msgspec.Meta(gt=0)]


class WaveformOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of kind "waveform".

    sample_rate: in Hz. A file with another one is refused; nothing is resampled.
    length: samples; a shorter sound is followed by zeros, a longer one is cut. Without it a
        sound keeps its own length.
    """

    sample_rate: Positive
    length: Positive | None = None

    def files(self) -> tuple[str, ...]:
        """None are needed."""
        return ()

    def convert(self, value: object, spec: TensorSpec, files: Path) -> Array:
        """A .wav path, a 1-D float array, a list of numbers, or a list of those: [batch, samples].

        Where the spec has three dimensions, [batch, 1, samples]. Channels of a file are
        averaged. Raises InputError for unreadable files and sounds that do not fit.
        """
        if np.dtype(spec.dtype).kind != "f":
            raise ProjectError(
                f"input {spec.name!r} takes sound and is not declared as floats", found=spec.dtype
            )
        sounds = [self._fitted(self._samples(spec, one)) for one in listed(value, name=spec.name)]
        lengths = sorted({len(sound) for sound in sounds})
        if len(lengths) > 1:
            raise InputError(
                f"the sounds of input {spec.name!r} have different lengths",
                found=f"{lengths} samples",
                hint="declare `length` in the input's preprocessing, or pass them one by one",
            )
        batch = np.stack(sounds).astype(spec.dtype)
        return batch[:, None, :] if len(spec.shape) == 3 else batch

    def _samples(self, spec: TensorSpec, value: object) -> Array:
        if isinstance(value, str | os.PathLike):
            samples, rate = read_wav(Path(value))
            check_rate(rate, name=spec.name, sample_rate=self.sample_rate)
        else:
            samples = waveform(value, name=spec.name)
        if not samples.size:
            raise InputError(f"the sound for input {spec.name!r} has no samples")
        return samples

    def _fitted(self, samples: Array) -> Array:
        if self.length is None:
            return samples
        cut = samples[: self.length]
        return np.pad(cut, (0, self.length - len(cut)))


def read_wav(path: Path) -> tuple[Array, int]:
    """(samples, sample rate in Hz) of a PCM .wav file of 8, 16, 24 or 32 bits.

    samples: float32 [frames] in [-1, 1], the average of the channels. Raises InputError where
    the file is missing, truncated or of another format.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, frames = file.getparams()[:4]
            data = file.readframes(frames)
    except (OSError, EOFError, ValueError, RuntimeError, wave.Error) as error:
        raise InputError(
            f"{path} cannot be read as a sound",
            found=f"{type(error).__name__}: {error}",
            expected="a PCM .wav file",
            hint="check the path: it is seen from the current directory"
            if isinstance(error, FileNotFoundError)
            else "ffmpeg -i INPUT -acodec pcm_s16le OUTPUT.wav",
        ) from error
    if width not in (1, 2, 3, 4) or len(data) != frames * channels * width:
        raise InputError(
            f"{path} is damaged",
            found=f"{len(data)} bytes of samples",
            expected=f"{frames} frames of {channels} x {width} bytes",
        )
    scaled = _pcm(data, width).reshape(frames, channels).mean(axis=1)
    return scaled.astype(np.float32), rate


def _pcm(data: bytes, width: int) -> Array:
    """Little-endian PCM as float64 in [-1, 1); 8-bit PCM is unsigned, the wider ones are signed."""
    if width == 1:
        return (np.frombuffer(data, dtype=np.uint8).astype(np.float64) - 128) / 128
    if width == 3:  # as the upper three bytes of a 32-bit sample
        padded = np.zeros((len(data) // 3, 4), dtype=np.uint8)
        padded[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
        data, width = padded.tobytes(), 4
    samples = np.frombuffer(data, dtype=f"<i{width}").astype(np.float64)
    return samples / float(2 ** (8 * width - 1))


def listed(value: object, *, name: str, expected: str = EXPECTED) -> list[object]:
    """One sound, or a list of them, as a list; a list of numbers is one sound."""
    if not isinstance(value, list | tuple):
        return [value]
    if not value:
        raise InputError(f"input {name!r} was given an empty list", expected=expected)
    return [value] if isinstance(value[0], int | float) else list(value)


def waveform(value: object, *, name: str, expected: str = EXPECTED) -> Array:
    """An array of floats, or a list of numbers, as float32 samples.

    Raises InputError for what is not one-dimensional, and for values outside -1 to 1.
    """
    try:
        array = np.asarray(value)
        unfit = array.ndim != 1 or array.dtype.kind not in ("f" if array is value else "fi")
    except ValueError:  # a ragged list
        array, unfit = np.empty(0), True
    if unfit:
        found = f"{array.dtype}{list(array.shape)}" if array is value else type(value).__name__
        raise InputError(f"input {name!r} takes a sound", found=found, expected=expected)
    outside = int((~(np.abs(array) <= 1)).sum())  # counts NaN too
    if outside:
        raise InputError(
            f"the sound for input {name!r} leaves the range of a waveform",
            found=f"{outside} of {array.size} samples are above 1, below -1 or NaN",
            expected=expected,
            hint="divide 16-bit samples by 32768",
        )
    return array.astype(np.float32)


def check_rate(rate: object, *, name: str, sample_rate: int) -> None:
    """InputError unless a sound has the sample rate that the model takes."""
    if rate != sample_rate:
        raise InputError(
            f"the sound for input {name!r} has another sample rate than the model",
            found=f"{rate} Hz",
            expected=f"{sample_rate} Hz",
            hint=f"mmedge does not resample: ffmpeg -i INPUT -ar {sample_rate} OUTPUT.wav",
        )
