"""What the zoo is asked about: two photographs, two questions, two clips."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmedge.data.real_samples import real_samples

SAMPLING_RATE = 16_000
Clip = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One request. `labels`: what to look for in the image."""

    image: Image.Image
    text: str
    labels: tuple[str, ...]
    audio: Clip

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
def photographs() -> tuple[Image.Image, Image.Image]:
    """The bundled temple, wider than high, and the bundled flower, cropped to stand upright.

    Two shapes, so that what pads or tiles has something to do.
    """
    temple, flower = (Image.open(path).convert("RGB") for path in real_samples().images)
    return temple, flower.crop((90, 0, 330, 320))


@cache
def clips() -> tuple[Clip, Clip]:
    """A second of the bundled sentence, and a shorter part of its end."""
    spoken = real_samples().speech_at(SAMPLING_RATE)
    return spoken[:SAMPLING_RATE], spoken[-28_000:-15_200]


@cache
def samples() -> tuple[Sample, Sample]:
    temple, flower = photographs()
    first, second = clips()
    return (
        Sample(
            temple,
            "what is the roof of the temple made of",
            ("a temple", "a golden roof"),
            first,
        ),
        Sample(
            flower,
            "which colour does the flower have",
            ("a red flower", "leaves"),
            second,
        ),
    )
