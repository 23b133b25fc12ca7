"""Pictures of handwritten digits, what is to be said of them, and the two stored data sets.

A scene has four cells, in reading order; a cell is empty or shows one digit, not quite in its
middle. A caption names the digits of each row from left to right, the upper row first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent

PAD, START, END = range(3)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = ("[PAD]", "[START]", "[END]", "a", "an", "left", "right", "of", "above", "and", *DIGITS)

CELLS, PICTURE, CELL = 4, 28, 32
SLACK = CELL - PICTURE  # how far a digit can be moved within its cell, in pixels

Example = tuple[dict[str, Any], list[int]]


class Drawn(NamedTuple):
    """One digit of a scene: the row of its picture in a bank, its value, its place in pixels."""

    picture: int
    digit: int
    down: int
    right: int


Scene = tuple[Drawn | None, ...]


def sample_scene(labels: Sequence[int], rng: Random) -> Scene:
    """Draw one to four digits from a bank whose values are `labels`."""
    shown = rng.sample(range(CELLS), rng.choices((1, 2, 3, 4), (1, 3, 2, 1))[0])
    scene: list[Drawn | None] = [None] * CELLS
    for cell in shown:
        picture = rng.randrange(len(labels))
        scene[cell] = Drawn(picture, labels[picture], rng.randint(0, SLACK), rng.randint(0, SLACK))
    return tuple(scene)


def caption(scene: Scene) -> str:
    """Describe a scene; every scene has exactly one caption.

    Two digits on a diagonal are "above and left of" or "above and right of" each other. Of one
    row with two digits and one with a single digit, the caption does not say where the latter is.
    """
    rows = (scene[:2], scene[2:])
    upper, lower = (" left of ".join(_named(drawn.digit) for drawn in row if drawn) for row in rows)
    return _between(rows).join(phrase for phrase in (upper, lower) if phrase)


def _between(rows: Sequence[Scene]) -> str:
    """How the upper row lies to the lower one, where each shows something."""
    shown = [[bool(drawn) for drawn in row] for row in rows]
    if shown == [[True, False], [False, True]]:
        return " above and left of "
    if shown == [[False, True], [True, False]]:
        return " above and right of "
    return " above "


def _named(digit: int) -> str:
    word = DIGITS[digit]
    return f"an {word}" if word == "eight" else f"a {word}"


def ids(text: str) -> list[int]:
    """A caption as the model writes it: the ids of its words, and the end token."""
    return [*(WORDS.index(word) for word in text.split()), END]


def text(tokens: Sequence[int]) -> str:
    """The caption that tokens spell, as far as the end token."""
    written = [int(token) for token in tokens]
    length = written.index(END) if END in written else len(written)
    return " ".join(WORDS[token] for token in written[:length])


def compose(patches: NDArray[np.uint8], offsets: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the digits of scenes together.

    patches: [n, 4, 28, 28], how strongly each pixel is inked; all 0 for an empty cell.
    offsets: [n, 4, 2], pixels down and right, up to `SLACK`.
    Returns grey images [n, 64, 64].
    """
    images = np.zeros((len(patches), 2 * CELL, 2 * CELL), dtype=np.uint8)
    for image, cells, moved in zip(images, patches, offsets, strict=True):
        for cell, (patch, (down, right)) in enumerate(zip(cells, moved.tolist(), strict=True)):
            top, left = CELL * (cell // 2) + down, CELL * (cell % 2) + right
            image[top : top + PICTURE, left : left + PICTURE] = patch
    return images


def examples(archive: Mapping[str, NDArray[Any]]) -> list[Example]:
    """Turn a stored data set into pairs of inputs and caption ids.

    The archive holds digits uint8 [n, 28, 28], pictures int16 [m, 4] (rows of digits, -1 for an
    empty cell), offsets uint8 [m, 4, 2] and captions str [m].
    """
    pictures = archive["pictures"]
    patches = np.where(pictures[..., None, None] < 0, np.uint8(0), archive["digits"][pictures])
    images = compose(patches, archive["offsets"])
    rows = zip(images, archive["captions"], strict=True)
    return [({"image": image}, ids(str(caption))) for image, caption in rows]


def evaluation() -> list[Example]:
    """Load the held-out set, whose digits take no part in training."""
    with np.load(FOLDER / "evaluation.npz") as archive:
        return examples(archive)


def calibration() -> list[Example]:
    """Load a small set made of training digits, for choosing quantisation ranges."""
    with np.load(FOLDER / "calibration.npz") as archive:
        return examples(archive)
