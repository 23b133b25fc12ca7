"""Images of their own sizes, padded to the largest one, with a pixel_mask. (ViLT, DETR.)"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedge.runtime.processors.image_size import ImageSize, Positive, Size, divisible_within_edges
from mmedge.runtime.processors.image_steps import ImageSteps, Picture, Pictures, size_of
from mmedge.runtime.processors.pixels import center_cropped, padded_to, resized
from mmedge.tensors import Array


class PaddedImage(ImageSteps, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "padded".

    size: None leaves the images as large as they are. divisor: both edges become multiples of
        it, as ViLT does. crop: the middle that is kept (BridgeTower). pad_size: the size of every
        padded image, instead of the largest.
    """

    several: ClassVar[bool] = False
    tensors: ClassVar[tuple[str, ...]] = ("pixel_values", "pixel_mask")

    size: ImageSize | None = None
    divisor: Positive | None = None
    crop: ImageSize | None = None
    pad_size: ImageSize | None = None

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, channels, height, width]; pixel_mask int64 without channels."""
        images = [image for example in examples for image in example]
        processed = [self._one(image) for image in images]
        sizes = [size_of(image) for image in processed]
        frame = self._frame(sizes)
        padded, masks = zip(*(padded_to(image, frame) for image in processed), strict=True)
        pictures = [
            [Picture(size_of(image), size)] for image, size in zip(images, sizes, strict=True)
        ]
        return Pictures({"pixel_values": np.stack(padded), "pixel_mask": np.stack(masks)}, pictures)

    def _one(self, pixels: Array) -> Array:
        if self.size is not None:
            pixels = resized(pixels, self._size(*size_of(pixels)), resample=self.resample)
        if self.crop is not None:
            pixels = center_cropped(pixels, self.crop.exact())
        return self.finish(pixels)

    def _size(self, height: int, width: int) -> Size:
        size = self.size or ImageSize(height=height, width=width)
        if self.divisor is not None and size.shortest_edge is not None:
            edge, divisor = size.shortest_edge, self.divisor
            return divisible_within_edges(height, width, shortest=edge, divisor=divisor)
        return size.of(height, width)

    def _frame(self, sizes: list[Size]) -> Size:
        """The padded size: never smaller than an image, where upstream refuses."""
        fixed = [self.pad_size.exact()] if self.pad_size is not None else []
        every = sizes + fixed
        return max(height for height, _ in every), max(width for _, width in every)
