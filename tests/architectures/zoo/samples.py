"""What the zoo is asked about: two photographs, two questions, two clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

SAMPLING_RATE = 16_000


@dataclass(frozen=True)
class Sample:
    """One request. `labels`: what to look for in the image."""

    image: Image.Image
    text: str
    labels: tuple[str, ...]
    audio: npt.NDArray[np.float32]

    @property
    def words(self) -> list[str]:
        return self.text.split()

    @property
    def boxes(self) -> list[list[int]]:
        """(left, top, right, bottom) of each word, in 0..1000, laid out as one line of a page."""
        ends = np.cumsum([len(word) + 1 for word in self.words])
        row = len(self.text)
        left = [0, *ends[:-1]]
        return [
            [int(20 * start), 30 + row, int(20 * end - 15), 60 + row]
            for start, end in zip(left, ends, strict=True)
        ]


@cache
def photographs() -> Mapping[str, Image.Image]:
    """scikit-learn's photographs: a temple, 640 by 427, and a flower, cropped to stand upright.

    Two shapes, so that what pads or tiles has something to do.
    """
    from sklearn.datasets import load_sample_images

    found = load_sample_images()
    names = [name.rsplit("/", 1)[-1].removesuffix(".jpg") for name in found.filenames]
    images = dict(zip(names, map(Image.fromarray, found.images), strict=True))
    images["flower"] = images["flower"].crop((120, 0, 440, 427))
    return MappingProxyType(images)


def speech(seed: int, seconds: float = 1.0) -> npt.NDArray[np.float32]:
    """Voiced syllables: a gliding pitch through two formants, with pauses and breath noise."""
    draw = np.random.default_rng(seed)
    time = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    pitch = draw.uniform(100, 220) * (1 + 0.15 * np.sin(2 * np.pi * draw.uniform(1, 3) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLING_RATE
    formants = draw.uniform(300, 2500, size=2)
    voice = np.zeros_like(time)
    for harmonic in range(1, 25):
        loudness = np.exp(-(((harmonic * pitch - formants[:, None]) / 200) ** 2)).sum(0)
        voice += (loudness + 0.05) * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * draw.uniform(2, 5) * time), 0, None)
    sound = voice * syllables + 0.02 * draw.standard_normal(time.size)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


@cache
def samples() -> tuple[Sample, Sample]:
    photos = photographs()
    return (
        Sample(
            photos["china"],
            "what is the roof of the temple made of",
            ("a temple", "a golden roof"),
            speech(1),
        ),
        Sample(
            photos["flower"],
            "which colour does the flower have",
            ("a red flower", "leaves"),
            speech(2, 0.8),
        ),
    )
