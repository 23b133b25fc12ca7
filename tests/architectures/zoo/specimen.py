"""A specimen: how one architecture is built tiny, and what its processor is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .samples import Sample
from .weights import EMBEDDING_DEVIATION, scatter

# A model and its upstream processor (or tokenizer, or feature extractor).
Built = tuple[Any, Any]
Ask = Callable[[Any, Sequence[Sample]], Mapping[str, Any]]


@dataclass(frozen=True)
class Specimen:
    """`feeds`: which fields of a sample reach the model. `seed`: of the random weights."""

    name: str
    make: Callable[[], Built]
    ask: Ask
    feeds: tuple[str, ...]
    seed: int = 0
    gain: float = 2.0
    embedding: float = EMBEDDING_DEVIATION

    def build(self, directory: Path) -> None:
        """Writes what `save_pretrained` of the model and of its processor write."""
        torch.manual_seed(self.seed)
        model, processor = self.make()
        scatter(model, seed=self.seed, gain=self.gain, embedding=self.embedding)
        model.eval().save_pretrained(directory)
        processor.save_pretrained(directory)


SPECIMENS: dict[str, Specimen] = {}


def specimen(
    ask: Ask, *, feeds: Sequence[str], **weights: Any
) -> Callable[[Callable[[], Built]], Callable[[], Built]]:
    """Registers the decorated function under its own name."""

    def register(make: Callable[[], Built]) -> Callable[[], Built]:
        name = make.__name__
        SPECIMENS[name] = Specimen(name, make, ask, tuple(feeds), **weights)
        return make

    return register
