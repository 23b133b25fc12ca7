"""Scenes drawn at random: coloured quadrants, a few notes, and a request to describe them."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

Example = tuple[dict[str, NDArray[Any]], str]

WORDS = (
    "[PAD]", "[START]", "[END]", "nothing",
    "red", "green", "blue", "white", "low", "middle", "high",
)  # fmt: skip
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}
CYCLES = {"low": 1, "middle": 3, "high": 6}  # in 20 samples
REQUESTS = {
    (1, 2, 3, 4): ("image",),
    (1, 3, 2, 4): ("audio",),
    (1, 2, 5, 3): ("image", "audio"),
    (1, 3, 5, 2): ("audio", "image"),
}


def sample(rng: Random) -> Example:
    """One example: image float32 [3, 16, 16], audio float32 [240], text int64 [4]; and words.

    The words are the colours of the quadrants, in reading order, and the notes, in order, as far
    as they are asked for; an empty quadrant or a silence has no word.
    """
    noise = np.random.default_rng(rng.randrange(2**32))
    quadrants = rng.choices([None, *COLOURS], k=4)
    notes = rng.choices([None, *CYCLES], k=3)
    request = rng.choice(list(REQUESTS))
    words = {
        "image": [colour for colour in quadrants if colour],
        "audio": [note for note in notes if note],
    }
    answer = [word for modality in REQUESTS[request] for word in words[modality]]
    inputs = {
        "image": _image(quadrants) + noise.normal(0, 0.05, (3, 16, 16)).astype(np.float32),
        "audio": _audio(notes, rng) + noise.normal(0, 0.05, 240).astype(np.float32),
        "text": np.array(request, dtype=np.int64),
    }
    return inputs, " ".join(answer or ["nothing"])


def _image(quadrants: list[str | None]) -> NDArray[np.float32]:
    image = np.zeros((3, 16, 16), dtype=np.float32)
    for index, colour in enumerate(quadrants):
        if colour:
            y, x = 8 * (index // 2), 8 * (index % 2)
            image[:, y : y + 8, x : x + 8] = np.array(COLOURS[colour])[:, None, None]
    return image


def _audio(notes: list[str | None], rng: Random) -> NDArray[np.float32]:
    time = np.arange(80) / 20 * 2 * np.pi
    phases = [rng.uniform(0, 2 * np.pi) for _ in notes]
    parts = [
        np.sin(CYCLES[note] * time + phase) if note else np.zeros(80)
        for note, phase in zip(notes, phases, strict=True)
    ]
    return np.concatenate(parts).astype(np.float32)


def ids(words: str) -> list[int]:
    """Words as the model writes them: their ids, and the end token."""
    return [*(WORDS.index(word) for word in words.split()), WORDS.index("[END]")]


def draw(count: int, seed: int) -> list[Example]:
    """`count` examples, the same for the same seed."""
    rng = Random(seed)
    return [sample(rng) for _ in range(count)]


def calibration() -> list[Example]:
    """Draw examples for choosing quantisation ranges."""
    return draw(64, seed=1)


def evaluation() -> list[Example]:
    """Draw examples that training has not seen; the target is the words of the description."""
    return draw(64, seed=2)
