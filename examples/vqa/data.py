"""Scenes of coloured handwritten digits, questions about them, and the two stored data sets.

A scene is a 2x2 grid of cells, in the order of `PLACES`. A cell is empty or shows one digit in
one colour. Only questions with exactly one right answer are asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent

PLACES = ("top left", "top right", "bottom left", "bottom right")
PARITIES = ("even", "odd")
TINTS = {
    "red": (235, 60, 50),
    "green": (60, 200, 80),
    "blue": (70, 120, 255),
    "yellow": (245, 220, 60),
    "purple": (190, 70, 225),
}
COLOURS = tuple(TINTS)
BACKGROUND = (18, 18, 28)
ANSWERS = (*(str(number) for number in range(10)), *COLOURS, "yes", "no")

PHRASINGS = {
    "digit_at": (
        "What digit is in the {place}?",
        "Which digit is at the {place}?",
        "Which number is in the {place} corner?",
    ),
    "digit_of_colour": (
        "Which digit is {colour}?",
        "What is the {colour} digit?",
        "Which number is the {colour} one?",
    ),
    "colour_at": (
        "What colour is the {place} digit?",
        "What color is the digit in the {place} corner?",
        "Which colour does the {place} digit have?",
    ),
    "colour_of_digit": (
        "What colour is the {digit}?",
        "What color is the digit {digit}?",
        "Which colour does the {digit} have?",
    ),
    "parity_at": (
        "Is the {place} digit {parity}?",
        "Is the digit in the {place} {parity}?",
        "Is the number in the {place} corner {parity}?",
    ),
    "parity_of_colour": (
        "Is the {colour} digit {parity}?",
        "Is the digit in {colour} {parity}?",
        "Is the {colour} number {parity}?",
    ),
    "count_colour": (
        "How many digits are {colour}?",
        "How many {colour} digits are there?",
        "Count the {colour} digits.",
    ),
    "count_parity": (
        "How many digits are {parity}?",
        "How many {parity} digits are there?",
        "Count the {parity} digits.",
    ),
    "count_all": (
        "How many digits are there?",
        "How many digits are in the image?",
        "Count all the digits.",
    ),
}

Example = tuple[dict[str, Any], int]
Fact = tuple[dict[str, str], str]


class Cell(NamedTuple):
    """One drawn digit: the row of its picture in a bank of digits, its value and its colour."""

    picture: int
    digit: int
    colour: str


Scene = tuple[Cell | None, ...]


class Question(NamedTuple):
    """A question about a scene, with the name of its kind and the right answer."""

    kind: str
    text: str
    answer: str


def sample_scene(labels: Sequence[int], rng: Random) -> Scene:
    """Draw one to four digits from a bank whose values are `labels`, and colour them."""
    places = rng.sample(range(4), rng.choices((1, 2, 3, 4), (1, 2, 3, 4))[0])
    palette = rng.sample(COLOURS, rng.randint(2, len(COLOURS)))
    scene: list[Cell | None] = [None] * len(PLACES)
    for place in places:
        picture = rng.randrange(len(labels))
        scene[place] = Cell(picture, labels[picture], rng.choice(palette))
    return tuple(scene)


def facts(scene: Scene) -> dict[str, list[Fact]]:
    """List what can be asked of a scene, by kind: the words for a phrasing, and the answer."""
    placed = [(place, cell) for place, cell in zip(PLACES, scene, strict=True) if cell]
    cells = [cell for _, cell in placed]
    digits = Counter(cell.digit for cell in cells)
    colours = Counter(cell.colour for cell in cells)
    parities = Counter(PARITIES[cell.digit % 2] for cell in cells)
    lone = [cell for cell in cells if colours[cell.colour] == 1]
    return {
        "digit_at": [({"place": place}, str(cell.digit)) for place, cell in placed],
        "digit_of_colour": [({"colour": cell.colour}, str(cell.digit)) for cell in lone],
        "colour_at": [({"place": place}, cell.colour) for place, cell in placed],
        "colour_of_digit": [
            ({"digit": str(cell.digit)}, cell.colour) for cell in cells if digits[cell.digit] == 1
        ],
        "parity_at": [fact for place, cell in placed for fact in parity_facts(cell, place=place)],
        "parity_of_colour": [
            fact for cell in lone for fact in parity_facts(cell, colour=cell.colour)
        ],
        "count_colour": [({"colour": colour}, str(colours[colour])) for colour in COLOURS],
        "count_parity": [({"parity": parity}, str(parities[parity])) for parity in PARITIES],
        "count_all": [({}, str(len(cells)))],
    }


def parity_facts(cell: Cell, **words: str) -> list[Fact]:
    """Ask whether a cell's digit is even and whether it is odd."""
    own = PARITIES[cell.digit % 2]
    return [({**words, "parity": parity}, "yes" if parity == own else "no") for parity in PARITIES]


def ask(kind: str, candidates: Sequence[Fact], rng: Random) -> Question:
    """Phrase one of the candidate facts, each answer that they hold being equally likely."""
    answer = rng.choice(sorted({answer for _, answer in candidates}))
    words = rng.choice([words for words, other in candidates if other == answer])
    return Question(kind, rng.choice(PHRASINGS[kind]).format_map(words), answer)


def every_question() -> list[str]:
    """Spell out every phrasing with every choice of words."""
    return [
        phrasing.format(place=place, colour=colour, parity=parity, digit=digit)
        for phrasings in PHRASINGS.values()
        for phrasing in phrasings
        for place in (PLACES if "{place}" in phrasing else PLACES[:1])
        for colour in (COLOURS if "{colour}" in phrasing else COLOURS[:1])
        for parity in (PARITIES if "{parity}" in phrasing else PARITIES[:1])
        for digit in (range(10) if "{digit}" in phrasing else range(1))
    ]


def compose(patches: NDArray[np.uint8], colours: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Tint the cells of scenes and put them together.

    patches: uint8 [..., 4, 28, 28], how strongly each pixel is inked; all 0 for an empty cell.
    colours: int8 [..., 4], indices into `COLOURS`; any index for an empty cell.
    Returns RGB images, uint8 [..., 56, 56, 3].
    """
    ground = np.array(BACKGROUND, dtype=np.int32)
    tints = np.array(list(TINTS.values()), dtype=np.int32)[colours][..., None, None, :]
    # Integer arithmetic makes the images the same, bit for bit, on every machine.
    cells = ground + (patches[..., None].astype(np.int32) * (tints - ground)) // 255
    top = np.concatenate([cells[..., 0, :, :, :], cells[..., 1, :, :, :]], axis=-2)
    bottom = np.concatenate([cells[..., 2, :, :, :], cells[..., 3, :, :, :]], axis=-2)
    return np.concatenate([top, bottom], axis=-3).astype(np.uint8)


def examples(archive: Mapping[str, NDArray[Any]]) -> list[Example]:
    """Turn a stored data set into pairs of inputs and answer index.

    The archive holds digits uint8 [n, 28, 28], pictures int16 [m, 4] (rows of digits, -1 for an
    empty cell), colours int8 [m, 4], questions str [m] and targets uint8 [m].
    Inputs are `image`, uint8 [56, 56, 3], and `question`, a str.
    """
    pictures = archive["pictures"]
    patches = np.where(pictures[..., None, None] < 0, np.uint8(0), archive["digits"][pictures])
    images = compose(patches, archive["colours"])
    rows = zip(images, archive["questions"], archive["targets"], strict=True)
    return [({"image": image, "question": str(text)}, int(target)) for image, text, target in rows]


def evaluation() -> list[Example]:
    """Load the held-out set, whose digits take no part in training."""
    with np.load(FOLDER / "evaluation.npz") as archive:
        return examples(archive)


def calibration() -> list[Example]:
    """Load a small set made of training digits, for choosing quantisation ranges."""
    with np.load(FOLDER / "calibration.npz") as archive:
        return examples(archive)
