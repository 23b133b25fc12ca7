"""Flat patches of an image that keeps its aspect, filled up to one number. (SigLIP 2.)"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedge.runtime.processors.image_size import Positive, at_most_patches
from mmedge.runtime.processors.image_steps import ImageSteps, Picture, Pictures, size_of
from mmedge.runtime.processors.pixels import resized
from mmedge.tensors import Array


class BoundedPatchesImage(ImageSteps, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of method "bounded_patches": edge of a patch, and how many patches an image has."""

    several: ClassVar[bool] = False
    tensors: ClassVar[tuple[str, ...]] = (
        "pixel_values",
        "pixel_attention_mask",
        "spatial_shapes",
    )

    patch: Positive = 16
    most: Positive = 256
    resize: bool = True

    def convert(self, examples: list[list[Array]]) -> Pictures:
        """pixel_values [batch, most, values], its mask int32, spatial_shapes int64 [batch, 2]."""
        images = [image for example in examples for image in example]
        mask = np.zeros((len(images), self.most), dtype=np.int32)
        rows, pictures = [], []
        for index, image in enumerate(images):
            patches, picture = self._one(image)
            mask[index, : len(patches)] = 1
            rows.append(np.pad(patches, ((0, self.most - len(patches)), (0, 0))))
            pictures.append([picture])
        shapes = np.array([picture.grid for (picture,) in pictures], dtype=np.int64)
        tensors = {
            "pixel_values": np.stack(rows),
            "pixel_attention_mask": mask,
            "spatial_shapes": shapes,
        }
        return Pictures(tensors, pictures)

    def _one(self, pixels: Array) -> tuple[Array, Picture]:
        original = size_of(pixels)
        if self.resize:
            target = at_most_patches(*original, patch=self.patch, most=self.most)
            pixels = resized(pixels, target, resample=self.resample)
        finished = self.finish(pixels)
        channels, height, width = finished.shape
        rows, columns = height // self.patch, width // self.patch
        blocks = finished.reshape(channels, rows, self.patch, columns, self.patch)
        flat = blocks.transpose(1, 3, 2, 4, 0).reshape(rows * columns, -1)
        return flat, Picture(original, (height, width), (rows, columns))
