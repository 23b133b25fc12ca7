"""A page inside a fixed frame: turned along it, shrunk, centred on zeros. (Donut.)"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedge.runtime.processors.image_plain import UNEQUAL
from mmedge.runtime.processors.image_size import ImageSize, Size, by_shortest_edge
from mmedge.runtime.processors.image_steps import ImageSteps, Picture, Pictures, size_of
from mmedge.runtime.processors.pixels import center_cropped, resized, stacked
from mmedge.tensors import Array


class DocumentImage(ImageSteps, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "document": the frame, and which of the steps are taken, in this order."""

    several: ClassVar[bool] = False
    tensors: ClassVar[tuple[str, ...]] = ("pixel_values",)

    size: ImageSize = ImageSize(height=1, width=1)
    align_long_axis: bool = False
    resize: bool = True
    thumbnail: bool = True
    pad: bool = True
    crop: ImageSize | None = None

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, channels, height, width]; one page per example."""
        pages = [image for example in examples for image in example]
        processed = [self._one(page) for page in pages]
        pictures = [
            [Picture(size_of(page), size_of(done))]
            for page, done in zip(pages, processed, strict=True)
        ]
        return Pictures(
            {"pixel_values": stacked(processed, what="the pages", hint=UNEQUAL)}, pictures
        )

    def _one(self, pixels: Array) -> Array:
        frame = self.size.exact()
        if self.align_long_axis:
            pixels = _turned(pixels, frame)
        if self.resize:
            target = by_shortest_edge(*size_of(pixels), edge=min(frame))
            pixels = resized(pixels, target, resample=self.resample)
        if self.thumbnail:
            pixels = self._shrunk(pixels, frame)
        if self.pad:
            pixels = _centred(pixels, frame)
        if self.crop is not None:
            pixels = center_cropped(pixels, self.crop.exact())
        return self.finish(pixels)

    def _shrunk(self, pixels: Array, frame: Size) -> Array:
        """No larger than the frame along the longer edge of the image."""
        height, width = size_of(pixels)
        rows, columns = min(height, frame[0]), min(width, frame[1])
        if (rows, columns) == (height, width):
            return pixels
        if height > width:
            columns = int(width * rows / height)
        elif width > height:
            rows = int(height * columns / width)
        return resized(pixels, (rows, columns), resample=self.resample)


def _turned(pixels: Array, frame: Size) -> Array:
    """Rotated by 90 degrees where the frame is upright and the image is not, or vice versa."""
    height, width = size_of(pixels)
    across = (frame[1] < frame[0] and width > height) or (frame[1] > frame[0] and width < height)
    return np.rot90(pixels, 3, axes=(1, 2)) if across else pixels


def _centred(pixels: Array, frame: Size) -> Array:
    """The image in the middle of zeros of the frame's size; as it is where it is larger."""
    down, across = (max(0, edge - own) for edge, own in zip(frame, size_of(pixels), strict=True))
    top, left = down // 2, across // 2
    return np.pad(pixels, ((0, 0), (top, down - top), (left, across - left)))
