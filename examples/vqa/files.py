"""The files that go with the weights: data sets, tokenizer, answers and a sample."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import data
import numpy as np
from declared import TOKENS
from digits import Digits, place
from model import PAD
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers


def make_archive(digits: Digits, size: int, seed: int) -> dict[str, NDArray[Any]]:
    """Draw a data set in the form that `data.examples` reads, with as many of every kind."""
    rng = Random(seed)
    scenes: list[data.Scene] = []
    questions: list[data.Question] = []
    while len(questions) < size:
        kind = list(data.PHRASINGS)[len(questions) % len(data.PHRASINGS)]
        scene = data.sample_scene(digits.labels, rng)
        if candidates := data.facts(scene)[kind]:
            scenes.append(scene)
            questions.append(data.ask(kind, candidates, rng))
    pictures, colours = place(scenes)
    return {
        "digits": digits.pictures,
        "pictures": pictures,
        "colours": colours,
        "kinds": np.array([question.kind for question in questions]),
        "questions": np.array([question.text for question in questions]),
        "targets": np.array([data.ANSWERS.index(q.answer) for q in questions], dtype=np.uint8),
    }


def make_tokenizer() -> Tokenizer:
    """Make a word-level tokenizer that knows the words of every question."""
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": PAD, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    pieces = tokenizer.pre_tokenizer.pre_tokenize_str
    questions = [question.lower() for question in data.every_question()]
    words = sorted({word for question in questions for word, _ in pieces(question)})
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer.model = models.WordLevel(vocabulary, unk_token="[UNK]")
    tokenizer.enable_padding(length=TOKENS, pad_id=PAD, pad_token="[PAD]")
    tokenizer.enable_truncation(TOKENS)
    if max(len(pieces(question)) for question in questions) > TOKENS:
        raise ValueError(f"a question has more than {TOKENS} tokens")
    return tokenizer


def write(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def buffered(save: Callable[[io.BytesIO], None]) -> bytes:
    """Collect what `save` writes to a binary file."""
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def write_archive(path: Path, archive: dict[str, Any]) -> None:
    """Write a data set as a compressed NumPy archive."""
    write(path, buffered(lambda file: np.savez_compressed(file, **archive)))


def write_sample(path: Path, examples: Sequence[data.Example]) -> None:
    """Write the image of the first example whose answer is a colour, and print the question."""
    inputs, target = next(ex for ex in examples if data.ANSWERS[ex[1]] in data.COLOURS)
    image = Image.fromarray(inputs["image"])
    write(path, buffered(lambda file: image.save(file, format="png")))
    print(f"{path.name}: {inputs['question']} {data.ANSWERS[target]}")


def write_json(path: Path, content: Sequence[str]) -> None:
    """Write a list as JSON."""
    write(path, (json.dumps(content) + "\n").encode())
