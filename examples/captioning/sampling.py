"""Batches to learn from: scenes with distorted digits and their captions, never the same twice."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import data
import torch
from declared import LONGEST, preprocess
from digits import Digits, distort, place
from torch import Tensor

EMPTY = len(data.DIGITS)


class Batch(NamedTuple):
    """Scenes to learn from.

    images: float32 [n, 1, 64, 64].
    captions: int64 [n, length], with the start token, padded after the end token.
    cells: int64 [n, 2, 2], the digit of each cell, or `EMPTY`.
    """

    images: Tensor
    captions: Tensor
    cells: Tensor


class Sampler:
    """A source of scenes and captions."""

    def __init__(self, digits: Digits, seed: int) -> None:
        self.digits = digits
        self.rng = Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def batch(self, size: int) -> Batch:
        """Draw scenes."""
        scenes = [data.sample_scene(self.digits.labels, self.rng) for _ in range(size)]
        cells = [[drawn.digit if drawn else EMPTY for drawn in scene] for scene in scenes]
        captions = padded([data.ids(data.caption(scene)) for scene in scenes])
        return Batch(self._images(scenes), captions, torch.tensor(cells).view(-1, 2, 2))

    def _images(self, scenes: list[data.Scene]) -> Tensor:
        pictures, offsets = place(scenes)
        shown = pictures >= 0
        patches = self.digits.pictures[pictures]
        patches[shown] = distort(patches[shown], self.generator)
        patches[~shown] = 0
        return preprocess(data.compose(patches, offsets))


def padded(captions: list[list[int]]) -> Tensor:
    """Captions behind a start token, filled with padding to one length."""
    longest = max(len(caption) for caption in captions)
    if longest > LONGEST:
        raise ValueError(f"a caption has more than {LONGEST} tokens")
    rows = [[data.START, *c, *[data.PAD] * (longest - len(c))] for c in captions]
    return torch.tensor(rows)
