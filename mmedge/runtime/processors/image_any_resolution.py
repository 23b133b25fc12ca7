"""The whole image, then tiles of the grid that suits its aspect best. (LLaVA-NeXT.)"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedge.runtime.processors.image_plain import PlainImage
from mmedge.runtime.processors.image_size import Positive, Size, best_resolution, inside
from mmedge.runtime.processors.image_steps import Picture, Pictures, size_of
from mmedge.runtime.processors.pixels import resized, stacked
from mmedge.tensors import Array


class AnyResolutionImage(PlainImage, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "any_resolution".

    resolutions: (height, width) of the grids an image may be fitted to. tile: edge of a tile,
        which is then processed as a plain image. whole: size of the whole image.
    """

    several: ClassVar[bool] = True
    tensors: ClassVar[tuple[str, ...]] = ("pixel_values", "image_sizes")

    resolutions: tuple[tuple[Positive, Positive], ...] = ()
    tile: Positive = 336
    whole: tuple[Positive, Positive] = (336, 336)

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, images, tiles, 3, height, width], image_sizes [batch, images, 2].

        Zeros follow the tiles of an image that has fewer than another one of the batch.
        """
        taken = [[self._tiles(image) for image in images] for images in examples]
        most = max(len(tiles) for images in taken for tiles in images)
        hint = "pass equally many images with every text"
        rows = [np.stack([_filled(tiles, most) for tiles in images]) for images in taken]
        sizes = [np.array([size_of(image) for image in images]) for images in examples]
        pictures = [
            [
                Picture(size_of(image), size_of(tiles[0]), (1, len(tiles) - 1))
                for image, tiles in zip(*both, strict=True)
            ]
            for both in zip(examples, taken, strict=True)
        ]
        batch = stacked(rows, what="the examples", hint=hint)
        image_sizes = stacked(sizes, what="the examples", hint=hint).astype(np.int64)
        return Pictures({"pixel_values": batch, "image_sizes": image_sizes}, pictures)

    def _tiles(self, pixels: Array) -> list[Array]:
        """The whole image and its tiles, processed."""
        frame = best_resolution(*size_of(pixels), self.resolutions)
        fitted = resized(pixels, inside(*size_of(pixels), frame=frame), resample=self.resample)
        framed = _centred(fitted, frame)
        whole = resized(pixels, self.whole, resample=self.resample)
        tiles = [
            framed[:, top : top + self.tile, left : left + self.tile]
            for top in range(0, frame[0], self.tile)
            for left in range(0, frame[1], self.tile)
        ]
        return [self.one(tile) for tile in (whole, *tiles)]


def _centred(pixels: Array, frame: Size) -> Array:
    height, width = size_of(pixels)
    top, left = (frame[0] - height) // 2, (frame[1] - width) // 2
    bottom, right = frame[0] - height - top, frame[1] - width - left
    return np.pad(pixels, ((0, 0), (top, bottom), (left, right)))


def _filled(tiles: list[Array], most: int) -> Array:
    batch = np.stack(tiles)
    return np.pad(batch, ((0, most - len(tiles)), (0, 0), (0, 0), (0, 0)))
