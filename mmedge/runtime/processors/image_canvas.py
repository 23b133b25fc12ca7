"""Tiles of the grid nearest to the image's aspect, then the whole image. (InternVL, GOT-OCR2.)"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedge.runtime.processors.image_size import ImageSize, Positive, Size, nearest_grid
from mmedge.runtime.processors.image_steps import ImageSteps, Picture, Pictures, size_of
from mmedge.runtime.processors.pixels import resized, stacked
from mmedge.tensors import Array


class CanvasImage(ImageSteps, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "canvas": the size of a tile, and the least and most tiles of an image."""

    several: ClassVar[bool] = True
    tensors: ClassVar[tuple[str, ...]] = ("pixel_values",)

    size: ImageSize = ImageSize(height=384, width=384)
    least: Positive = 1
    most: Positive = 12

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, tiles, channels, height, width], one image after the other."""
        taken = [[self._tiles(image) for image in images] for images in examples]
        rows = [np.stack([tile for tiles in images for tile in tiles]) for images in taken]
        pictures = [
            [
                Picture(size_of(image), self.size.exact(), tiles=len(tiles))
                for image, tiles in zip(*both, strict=True)
            ]
            for both in zip(examples, taken, strict=True)
        ]
        hint = "pass them one by one, or images of one aspect ratio"
        batch = stacked(rows, what="the examples' tiles", hint=hint)
        return Pictures({"pixel_values": batch}, pictures)

    def _tiles(self, pixels: Array) -> list[Array]:
        tile = self.size.exact()
        rows, columns = self._grid(*size_of(pixels))
        canvas = resized(pixels, (rows * tile[0], columns * tile[1]), resample=self.resample)
        tiles = [
            canvas[:, row * tile[0] :, column * tile[1] :][:, : tile[0], : tile[1]]
            for row in range(rows)
            for column in range(columns)
        ]
        if len(tiles) > 1:
            tiles.append(resized(pixels, tile, resample=self.resample))
        return [self.finish(part) for part in tiles]

    def _grid(self, height: int, width: int) -> Size:
        if self.most == 1:
            return 1, 1
        least, most = self.least, self.most
        return nearest_grid(height, width, tile=self.size.exact(), least=least, most=most)
