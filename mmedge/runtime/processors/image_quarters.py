"""Four quarters and the whole image, each within bounds, padded to the largest. (Idefics2.)"""

from __future__ import annotations

from typing import ClassVar

from mmedge.errors import InputError
from mmedge.runtime.processors.image_size import ImageSize, Size, clipped_edges
from mmedge.runtime.processors.image_steps import ImageSteps, Picture, Pictures, size_of
from mmedge.runtime.processors.image_tiles import filled_tiles
from mmedge.runtime.processors.pixels import as_from_file, pixels_of, resized
from mmedge.tensors import Array


class QuartersImage(ImageSteps, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "quarters": the bounds of a part's edges; without split the whole alone."""

    several: ClassVar[bool] = True
    tensors: ClassVar[tuple[str, ...]] = ("pixel_values", "pixel_attention_mask")

    size: ImageSize | None = None
    split: bool = False

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, parts, 3, height, width], pixel_attention_mask without the 3."""
        taken = [[self._parts(image) for image in images] for images in examples]
        pictures = [
            [
                Picture(size_of(image), size_of(parts[-1]), tiles=len(parts))
                for image, parts in zip(*both, strict=True)
            ]
            for both in zip(examples, taken, strict=True)
        ]
        return Pictures(
            filled_tiles([[one for parts in images for one in parts] for images in taken]), pictures
        )

    def load(self, value: object, *, name: str) -> Array:
        """Upstream's processor reads an image in memory as it reads a file."""
        return pixels_of(as_from_file(value, name=name), name=name, rgb=self.rgb)

    def _parts(self, pixels: Array) -> list[Array]:
        height, width = size_of(pixels)
        if self.split and min(height, width) < 2:
            raise InputError(
                "an image of this shape has no quarters",
                found=f"{width} x {height} pixels",
                expected="at least 2 x 2",
            )
        middle, centre = height // 2, width // 2
        quarters = [
            pixels[:, :middle, :centre],
            pixels[:, :middle, centre:],
            pixels[:, middle:, :centre],
            pixels[:, middle:, centre:],
        ]
        parts = [*quarters, pixels] if self.split else [pixels]
        return [self.finish(self._resized(part)) for part in parts]

    def _resized(self, pixels: Array) -> Array:
        if self.size is None:
            return pixels
        return resized(pixels, self._target(self.size, *size_of(pixels)), resample=self.resample)

    def _target(self, size: ImageSize, height: int, width: int) -> Size:
        if size.shortest_edge is None or size.longest_edge is None:
            return size.exact()
        shortest, longest = size.shortest_edge, size.longest_edge
        return clipped_edges(height, width, shortest=shortest, longest=longest)
