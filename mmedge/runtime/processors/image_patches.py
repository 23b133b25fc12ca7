"""Images of any size as flat patches, in the order in which they are merged. (Qwen2-VL.)"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedge.runtime.processors.image_size import Positive, Size, near_pixel_count
from mmedge.runtime.processors.image_steps import ImageSteps, Picture, Pictures, size_of
from mmedge.runtime.processors.pixels import resized, stacked
from mmedge.tensors import Array

UNEQUAL = "pass them one by one, or give every text equally many images of equal size"


class PatchedImage(ImageSteps, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "patches".

    least_pixels, most_pixels: between them is the area of a resized image.
    merge: that many patches along either edge become one token.
    repeats: copies of an image in a patch, which has a time axis (`temporal_patch_size`).
    """

    several: ClassVar[bool] = True
    tensors: ClassVar[tuple[str, ...]] = ("pixel_values", "image_grid_thw")

    least_pixels: Positive = 56 * 56
    most_pixels: Positive = 28 * 28 * 1280
    patch: Positive = 14
    merge: Positive = 2
    repeats: Positive = 2
    resize: bool = True

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, patches, values], image_grid_thw int64 [batch, images, 3].

        The patches of all images of one example, one image after the other.
        """
        rows, grids, pictures = [], [], []
        for images in examples:
            taken = [self._one(image) for image in images]
            rows.append(np.concatenate([patches for patches, _ in taken]))
            grids.append(np.array([(1, *picture.grid) for _, picture in taken], dtype=np.int64))
            pictures.append([picture for _, picture in taken])
        what = "the examples' images"
        pixels = stacked(rows, what=what, hint=UNEQUAL)
        grid = stacked(grids, what=what, hint=UNEQUAL)
        return Pictures({"pixel_values": pixels, "image_grid_thw": grid}, pictures)

    def _one(self, pixels: Array) -> tuple[Array, Picture]:
        original = size_of(pixels)
        if self.resize:
            pixels = resized(pixels, self._size(*original), resample=self.resample)
        finished = self.finish(pixels)
        height, width = size_of(finished)
        grid = height // self.patch, width // self.patch
        return self._flat(finished, grid), Picture(original, (height, width), grid)

    def _size(self, height: int, width: int) -> Size:
        least, most = self.least_pixels, self.most_pixels
        factor = self.patch * self.merge
        return near_pixel_count(height, width, factor=factor, least=least, most=most)

    def _flat(self, pixels: Array, grid: Size) -> Array:
        """[patches, channels * repeats * patch * patch]; merged patches follow one another."""
        rows, columns = grid[0] // self.merge, grid[1] // self.merge
        channels, merge, patch = pixels.shape[0], self.merge, self.patch
        blocks = pixels.reshape(channels, rows, merge, patch, columns, merge, patch)
        ordered = blocks.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
        repeated = np.repeat(ordered, self.repeats, axis=5)
        return repeated.reshape(grid[0] * grid[1], channels * self.repeats * patch * patch)
