"""Large images as tiles of one size, followed by the whole image. (Idefics3, SmolVLM.)"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedge.runtime.processors.image_size import (
    ImageSize,
    Positive,
    Size,
    by_longest_edge,
    multiple_of,
)
from mmedge.runtime.processors.image_steps import ImageSteps, Picture, Pictures, size_of
from mmedge.runtime.processors.pixels import padded_to, resized
from mmedge.tensors import Array

MOST_EDGE = 4096  # MAX_IMAGE_SIZE of image_processing_idefics3.py, transformers 5.23


class TiledImage(ImageSteps, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "tiles".

    size: the longest edge that an image is scaled to first; None leaves it as it is.
    tile: edge of a tile. split: without it an image is one tile.
    """

    several: ClassVar[bool] = True
    tensors: ClassVar[tuple[str, ...]] = ("pixel_values", "pixel_attention_mask")

    size: ImageSize | None = None
    tile: Positive = 364
    split: bool = True

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, tiles, 3, tile, tile], pixel_attention_mask int64 without the 3."""
        tiles: list[list[Array]] = []
        pictures: list[list[Picture]] = []
        for images in examples:
            taken = [self._tiles(image) for image in images]
            tiles.append([self.finish(tile) for parts, _ in taken for tile in parts])
            pictures.append(
                [
                    Picture(size_of(image), (self.tile, self.tile), grid)
                    for image, (_, grid) in zip(images, taken, strict=True)
                ]
            )
        return Pictures(filled_tiles(tiles), pictures)

    def _tiles(self, pixels: Array) -> tuple[list[Array], Size]:
        """(the tiles, with the whole image last; rows and columns, 0 where it is one tile)."""
        edge = self.tile
        if self.size is not None:
            pixels = resized(pixels, self._scaled(*size_of(pixels)), resample=self.resample)
        if not self.split:
            return [resized(pixels, (edge, edge), resample=self.resample)], (0, 0)
        target = multiple_of(*size_of(pixels), edge=edge)
        pixels = resized(pixels, target, resample=self.resample)
        if max(target) <= edge:
            return [pixels], (0, 0)
        rows, columns = target[0] // edge, target[1] // edge
        parts = [
            pixels[:, row * edge : (row + 1) * edge, column * edge : (column + 1) * edge]
            for row in range(rows)
            for column in range(columns)
        ]
        return [*parts, resized(pixels, (edge, edge), resample=self.resample)], (rows, columns)

    def _scaled(self, height: int, width: int) -> Size:
        size = self.size
        if size is not None and size.longest_edge is not None:
            return by_longest_edge(height, width, edge=size.longest_edge, most=MOST_EDGE)
        return size.exact() if size is not None else (height, width)


def filled_tiles(examples: list[list[Array]]) -> dict[str, Array]:
    """The tiles of every example, and empty ones after them up to the longest example."""
    most = max(len(tiles) for tiles in examples)
    sizes = [size_of(tile) for tiles in examples for tile in tiles]
    frame = max(height for height, _ in sizes), max(width for _, width in sizes)
    channels = examples[0][0].shape[0]
    pixels = np.zeros((len(examples), most, channels, *frame), dtype=np.float32)
    masks = np.zeros((len(examples), most, *frame), dtype=np.int64)
    for i, tiles in enumerate(examples):
        for j, tile in enumerate(tiles):
            pixels[i, j], masks[i, j] = padded_to(tile, frame)
    return {"pixel_values": pixels, "pixel_attention_mask": masks}
