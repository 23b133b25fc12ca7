"""One tensor per image: resized, cropped in the middle, rescaled, normalised. (CLIP, ViT, BLIP.)"""

from __future__ import annotations

from typing import ClassVar

from mmedge.runtime.processors.image_size import ImageSize
from mmedge.runtime.processors.image_steps import ImageSteps, Picture, Pictures, size_of
from mmedge.runtime.processors.pixels import center_cropped, resized, squared, stacked
from mmedge.tensors import Array

UNEQUAL = "pass them one by one, or resize them to one aspect ratio first"


class PlainImage(ImageSteps, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "plain".

    size, crop: None leaves the step out. square_first: put the image on a square of the mean
        colour before anything else (LLaVA's `do_pad`).
    """

    several: ClassVar[bool] = False
    tensors: ClassVar[tuple[str, ...]] = ("pixel_values",)

    size: ImageSize | None = None
    crop: ImageSize | None = None
    square_first: bool = False

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, channels, height, width]; one image per example."""
        images = [image for example in examples for image in example]
        processed = [self.one(image) for image in images]
        pictures = [[self._picture(*pair)] for pair in zip(images, processed, strict=True)]
        batch = stacked(processed, what="the images, resized as this model wants,", hint=UNEQUAL)
        return Pictures({"pixel_values": batch}, pictures)

    def one(self, pixels: Array) -> Array:
        """One image, processed: [channels, height, width]."""
        if self.square_first:
            colour = tuple(int(value * 255) for value in self.mean or (0,))
            pixels = squared(pixels, colour=colour)
        if self.size is not None:
            pixels = resized(pixels, self.size.of(*size_of(pixels)), resample=self.resample)
        if self.crop is not None:
            pixels = center_cropped(pixels, self.crop.exact())
        return self.finish(pixels)

    def _picture(self, image: Array, processed: Array) -> Picture:
        return Picture(size_of(image), size_of(processed))


class PlainImages(PlainImage, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "plain_several": the same, with several images per example. (LLaVA.)"""

    several: ClassVar[bool] = True

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, images, channels, height, width]."""
        processed = [[self.one(image) for image in example] for example in examples]
        rows = [stacked(images, what="the images", hint=UNEQUAL) for images in processed]
        batch = stacked(rows, what="the examples", hint="pass equally many images with every text")
        pictures = [
            [self._picture(*pair) for pair in zip(*both, strict=True)]
            for both in zip(examples, processed, strict=True)
        ]
        return Pictures({"pixel_values": batch}, pictures)
