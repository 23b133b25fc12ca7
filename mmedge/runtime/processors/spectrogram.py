"""Mel spectrograms in numpy: framing, windows and filter banks as upstream defines them.

Facts of transformers 5.23 `audio_utils`: the mel scales (HTK; Slaney: linear below 1000 Hz),
triangular filters on the FFT's frequencies, and their area normalisation.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from mmedge.tensors import Array

MelScale = Literal["htk", "slaney", "kaldi"]
FLOOR = 1e-10  # of mel energies, before the logarithm


def power_spectrogram(samples: Array, *, window: int, hop: int) -> Array:
    """|FFT|^2 of Hann windows centred on every hop: float64 [window // 2 + 1, frames].

    The ends are reflected; a sound must be longer than half a window.
    """
    padded = np.pad(samples.astype(np.float64), window // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    spectrum = np.fft.rfft(frames * hann(window), axis=1)
    power: Array = (spectrum.real**2 + spectrum.imag**2).T
    return power


def hann(length: int) -> Array:
    """The periodic Hann window."""
    return np.hanning(length + 1)[:-1]


@lru_cache(maxsize=8)
def mel_filters(
    bins: int,
    mels: int,
    *,
    lowest: float,
    highest: float,
    sample_rate: int,
    scale: MelScale,
    normalised: bool,
) -> Array:
    """Triangular filters float64 [bins, mels] between two frequencies in Hz.

    normalised: every filter has the same area.
    """
    corners = _to_hertz(np.linspace(to_mel(lowest, scale), to_mel(highest, scale), mels + 2), scale)
    frequencies = np.linspace(0, sample_rate // 2, bins)
    filters = triangles(frequencies, corners)
    if normalised:
        filters = filters * (2.0 / (corners[2:] - corners[:-2]))[None]
    return filters


def log_mel(power: Array, filters: Array) -> Array:
    """log10 of the filters' energies: float64 [mels, frames]."""
    energies: Array = np.log10(np.maximum(FLOOR, filters.T @ power))
    return energies


def triangles(frequencies: Array, corners: Array) -> Array:
    """Filters [frequencies, corners - 2], each from one corner over the next to the one after."""
    widths = np.diff(corners)
    slopes = corners[None] - frequencies[:, None]
    rising = -slopes[:, :-2] / widths[:-1]
    falling = slopes[:, 2:] / widths[1:]
    return np.maximum(0.0, np.minimum(rising, falling))


def to_mel(hertz: float, scale: MelScale) -> float:
    """A frequency in mels."""
    if scale == "htk":
        return float(2595.0 * np.log10(1.0 + hertz / 700.0))
    if scale == "kaldi":
        return float(1127.0 * np.log(1.0 + hertz / 700.0))
    if hertz < 1000.0:
        return 3.0 * hertz / 200.0
    return float(15.0 + np.log(hertz / 1000.0) * 27.0 / np.log(6.4))


def _to_hertz(mels: Array, scale: MelScale) -> Array:
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mels / 2595.0) - 1.0))
    if scale == "kaldi":
        return np.asarray(700.0 * (np.exp(mels / 1127.0) - 1.0))
    upper = 1000.0 * np.exp(np.log(6.4) / 27.0 * (mels - 15.0))
    return np.where(mels >= 15.0, upper, 200.0 * mels / 3.0)
