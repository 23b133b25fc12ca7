"""What all image methods share: reading pixels, and scaling them at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

import msgspec
import numpy as np

from mmedge.runtime.processors.image_size import Size
from mmedge.runtime.processors.pixels import normalised, pixels_of, rescaled
from mmedge.tensors import Array

PerChannel = Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=4)]
PilFilter = Annotated[int, msgspec.Meta(ge=0, le=5)]  # PIL.Image.Resampling


@dataclass(frozen=True)
class Picture:
    """What the text needs to know of one image: its sizes, and how it was taken apart.

    grid: (rows, columns) of tiles or patches; (0, 0) where it is whole. tiles: how many parts
    it became, each with tokens of its own.
    """

    original: Size
    processed: Size
    grid: Size = (0, 0)
    tiles: int = 1


@dataclass(frozen=True)
class Pictures:
    """The images of a batch: their tensors by upstream's names, and each example's pictures."""

    tensors: dict[str, Array]
    examples: list[list[Picture]]


class ImageSteps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of every image method.

    rgb: whatever the image is, make it RGB. resample: a Pillow filter. rescale_factor, mean, std:
        what the pixels are multiplied by, then normalised with; without them they are not.
    """

    rgb: bool = True
    resample: PilFilter = 3
    rescale_factor: float | None = 1 / 255
    mean: PerChannel | None = None
    std: PerChannel | None = None

    def __post_init__(self) -> None:
        """Mean and standard deviation belong together."""
        if len(self.mean or ()) != len(self.std or ()):
            raise ValueError("mean and std need the same number of channels")
        if any(value == 0 for value in self.std or ()):
            raise ValueError("std 0 divides by zero")

    def load(self, value: object, *, name: str) -> Array:
        """The value as uint8 pixels [channels, height, width]."""
        return pixels_of(value, name=name, rgb=self.rgb)

    def finish(self, pixels: Array) -> Array:
        """float32 pixels, rescaled and normalised."""
        if self.rescale_factor is not None:
            pixels = rescaled(pixels, self.rescale_factor)
        if self.mean is not None and self.std is not None:
            pixels = normalised(pixels, self.mean, self.std)
        return pixels.astype(np.float32, copy=False)


class ImageMethod(Protocol):
    """One way from images to tensors.

    several: one example may hold several images.
    tensors: upstream's names of what it makes.
    """

    several: ClassVar[bool]
    tensors: ClassVar[tuple[str, ...]]

    def load(self, value: object, *, name: str) -> Array:
        """The value as uint8 pixels [channels, height, width]."""
        ...

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """The pixels of every example's images as tensors with a leading batch axis."""
        ...


def size_of(pixels: Array) -> Size:
    """(height, width) of [channels, height, width]."""
    return int(pixels.shape[-2]), int(pixels.shape[-1])
