"""Kaldi's log filter banks in numpy, as upstream computes them where torchaudio is absent.

Facts of Kaldi's `compute-fbank-feats`: 25 ms frames every 10 ms, no padding of the ends, the
frame's mean removed, pre-emphasis, a symmetric window, filters that are triangles in mels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from mmedge.runtime.processors.spectrogram import to_mel, triangles
from mmedge.tensors import Array

WINDOW, HOP, FFT = 400, 160, 512  # samples at 16 kHz
PREEMPHASIS = 0.97
LOWEST_HZ = 20.0
FLOOR = float(np.finfo(np.float32).eps)  # of energies, before the logarithm
Shape = Literal["hann", "povey"]


def log_filter_bank(samples: Array, *, mels: int, sample_rate: int, shape: Shape) -> Array:
    """Natural logarithm of the energies: float32 [frames, mels]. Needs a frame of samples."""
    windows = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW)
    frames = windows[::HOP] - windows[::HOP].mean(axis=1, keepdims=True)
    previous = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    emphasised = (frames - PREEMPHASIS * previous) * _window(shape)
    spectrum = np.fft.rfft(emphasised, n=FFT, axis=1)
    energies = (spectrum.real**2 + spectrum.imag**2) @ _filters(mels, sample_rate)
    return np.asarray(np.log(np.maximum(FLOOR, energies)), dtype=np.float32)


def _window(shape: Shape) -> Array:
    hann = np.hanning(WINDOW)
    return hann if shape == "hann" else hann**0.85


@lru_cache(maxsize=4)
def _filters(mels: int, sample_rate: int) -> Array:
    """[FFT / 2 + 1, mels]"""
    highest = to_mel(float(sample_rate // 2), "kaldi")
    corners = np.linspace(to_mel(LOWEST_HZ, "kaldi"), highest, mels + 2)
    hertz = np.arange(FFT // 2 + 1) * sample_rate / FFT
    return triangles(np.array([to_mel(value, "kaldi") for value in hertz]), corners)
