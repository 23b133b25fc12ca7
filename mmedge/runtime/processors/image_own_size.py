"""Every image keeps its shape, in whole patches, on a canvas that holds the largest. (Pixtral.)"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from mmedge.runtime.processors.image_size import ImageSize, Positive, Size
from mmedge.runtime.processors.image_steps import ImageSteps, Picture, Pictures, size_of
from mmedge.runtime.processors.pixels import padded_to, resized, stacked
from mmedge.tensors import Array


class OwnSizeImage(ImageSteps, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "own_size".

    size: the largest height and width, or the longest edge. divisor: of the edges, in pixels.
    """

    several: ClassVar[bool] = True
    tensors: ClassVar[tuple[str, ...]] = ("pixel_values", "image_sizes")

    size: ImageSize = ImageSize(longest_edge=1024)
    divisor: Positive = 16

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, images, 3, height, width], image_sizes [batch, images, 2]."""
        taken = [[self._one(image) for image in images] for images in examples]
        sizes = [size_of(image) for images in taken for image in images]
        canvas = max(size[0] for size in sizes), max(size[1] for size in sizes)
        hint = "pass equally many images with every text"
        rows = [np.stack([padded_to(image, canvas)[0] for image in images]) for images in taken]
        shapes = [np.array([size_of(image) for image in images]) for images in taken]
        pictures = [
            [Picture(size_of(image), size_of(made)) for image, made in zip(*both, strict=True)]
            for both in zip(examples, taken, strict=True)
        ]
        tensors = {
            "pixel_values": stacked(rows, what="the examples", hint=hint),
            "image_sizes": stacked(shapes, what="the examples", hint=hint).astype(np.int64),
        }
        return Pictures(tensors, pictures)

    def _one(self, pixels: Array) -> Array:
        size = fitted(*size_of(pixels), most=self.size.exact(), divisor=self.divisor)
        return self.finish(resized(pixels, size, resample=self.resample))


def fitted(height: int, width: int, *, most: Size, divisor: int) -> Size:
    """Not larger than `most`, the aspect kept, rounded down; then up to the divisor."""
    ratio = max(height / most[0], width / most[1])
    if ratio > 1:
        height, width = math.floor(height / ratio), math.floor(width / ratio)
    # Upstream's rounding of an edge that became nothing is up, too.
    return tuple(max(0, (edge - 1) // divisor + 1) * divisor for edge in (height, width))  # type: ignore[return-value]
