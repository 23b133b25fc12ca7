"""Batches to learn from: scenes with distorted digits and questions, never the same twice."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import data
import torch
from declared import preprocess
from digits import Digits, distort, place
from model import COLOURS, DIGITS
from torch import Tensor


class Sampler:
    """A source of scenes and questions, never the same twice."""

    def __init__(self, digits: Digits, seed: int) -> None:
        self.digits = digits
        self.rng = Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.rows = {text: row for row, text in enumerate(data.every_question())}

    def images(self, scenes: Sequence[data.Scene]) -> Tensor:
        """Draw scenes with distorted digits, as float32 [n, 3, 56, 56]."""
        pictures, colours = place(scenes)
        patches = distort(self.digits.pictures[pictures].reshape(-1, 28, 28), self.generator)
        patches = patches.reshape(-1, 4, 28, 28)
        patches[pictures < 0] = 0
        return preprocess(data.compose(patches, colours))

    def questions(self, scene: data.Scene, count: int) -> list[data.Question]:
        """Draw questions about one scene."""
        candidates = {kind: some for kind, some in data.facts(scene).items() if some}
        kinds = self.rng.choices(list(candidates), k=count)
        return [data.ask(kind, candidates[kind], self.rng) for kind in kinds]

    def reading_batch(self, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw images, and what their cells show.

        Returns float32 [size, 3, 56, 56] and digits and colours, int64 [size, 2, 2].
        """
        scenes = [data.sample_scene(self.digits.labels, self.rng) for _ in range(size)]
        index = data.COLOURS.index
        digits = [[cell.digit if cell else DIGITS for cell in scene] for scene in scenes]
        colours = [[index(cell.colour) if cell else COLOURS for cell in s] for s in scenes]
        digits_tensor = torch.tensor(digits).view(-1, 2, 2)
        return self.images(scenes), digits_tensor, torch.tensor(colours).view(-1, 2, 2)

    def answering_batch(self, size: int, each: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw images with `each` questions about every one.

        Returns float32 [size, 3, 56, 56], rows of the table of all questions, int64
        [size * each], and their answers, int64 [size * each].
        """
        scenes = [data.sample_scene(self.digits.labels, self.rng) for _ in range(size)]
        asked = [question for scene in scenes for question in self.questions(scene, each)]
        rows = torch.tensor([self.rows[question.text] for question in asked])
        answers = torch.tensor([data.ANSWERS.index(question.answer) for question in asked])
        return self.images(scenes), rows, answers
