"""Words with their places on a page, and maybe a question about it. (LayoutLMv3.)"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mmedge.errors import InputError
from mmedge.runtime.preprocess.text import texts_of
from mmedge.runtime.processors.contract import RawInput
from mmedge.runtime.processors.image_steps import Pictures
from mmedge.runtime.processors.texts import queries_of
from mmedge.runtime.processors.tokenize import Tokenization, Words
from mmedge.tensors import Array

Box = tuple[int, int, int, int]


class WordText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of method "words".

    special_box, pad_box: where tokens that are no word of the page are. scale: the largest
        coordinate; boxes are (left, top, right, bottom) in thousandths of the page.
    """

    tokens: Tokenization
    special_box: Box = (0, 0, 0, 0)
    pad_box: Box = (0, 0, 0, 0)
    scale: int = 1000

    def raw_inputs(self) -> dict[str, RawInput]:
        """Words and boxes, and maybe a question."""
        return {
            "words": RawInput("text", self.tokens.outputs, beside=("boxes", "text")),
            "boxes": RawInput("boxes", ("bbox",), beside=("words", "text")),
            "text": RawInput("text", (), optional=True, beside=("words", "boxes")),
        }

    def convert(
        self, values: Mapping[str, object], pictures: Pictures | None, *, files: Path
    ) -> dict[str, Array]:
        """The tokenizer's outputs, int64 [batch, length], and bbox int64 [batch, length, 4]."""
        self._check_complete(values)
        words = queries_of(values["words"], name="words")
        boxes = [self._boxes(page) for page in _pages(values)]
        questions = texts_of(values["text"], name="text") if "text" in values else None
        _check_counts(words, boxes, questions)
        texts: list[Words] = list(words)
        if questions is not None:
            texts = [(text.split(), page) for text, page in zip(questions, words, strict=True)]
        encodings = self.tokens.encode(texts, files, name="words")
        page = 0 if questions is None else 1
        rows = [self._row(*pair, page) for pair in zip(encodings, boxes, strict=True)]
        return {**self.tokens.tensors(encodings), "bbox": np.array(rows, dtype=np.int64)}

    def _check_complete(self, values: Mapping[str, object]) -> None:
        for name in ("words", "boxes"):
            if name not in values:
                raise InputError(
                    f"input {name!r} is missing",
                    expected="words and boxes: what an OCR engine finds on the page",
                    hint="mmedge runs no OCR engine",
                )

    def _boxes(self, value: Any) -> Array:
        try:
            boxes = np.asarray(value)
        except ValueError:  # rows of unequal length
            boxes = np.empty(0)
        fits = boxes.ndim == 2 and boxes.shape[1] == 4 and boxes.dtype.kind in "iu"
        if not fits or boxes.min() < 0 or boxes.max() > self.scale:
            raise InputError(
                "input 'boxes' takes places of words",
                found=f"{boxes.dtype}{list(boxes.shape)}",
                expected=f"a (left, top, right, bottom) per word, integers from 0 to {self.scale}",
                hint=f"int({self.scale} * x / page width), int({self.scale} * y / page height)",
            )
        return boxes

    def _row(self, encoding: Any, boxes: Array, page: int) -> list[tuple[int, ...]]:
        """The box of every token; page: which of the encoding's sequences holds the words."""
        row: list[tuple[int, ...]] = []
        tokens = zip(encoding.word_ids, encoding.sequence_ids, encoding.attention_mask, strict=True)
        for word, sequence, real in tokens:
            if word is not None and sequence == page:
                row.append(tuple(boxes[word]))
            elif word is not None or not real:
                row.append(self.pad_box)
            else:
                row.append(self.special_box)
        return row


def _pages(values: Mapping[str, object]) -> list[object]:
    """The boxes of every page: they are nested as the words are."""
    words, boxes = values["words"], values["boxes"]
    nested = isinstance(words, list | tuple) and any(isinstance(one, list | tuple) for one in words)
    return list(boxes) if nested and isinstance(boxes, list | tuple | np.ndarray) else [boxes]


def _check_counts(words: list[list[str]], boxes: list[Array], questions: list[str] | None) -> None:
    counts = ([len(page) for page in words], [len(page) for page in boxes])
    if counts[0] != counts[1]:
        raise InputError("every word needs one box", found=f"words {counts[0]}, boxes {counts[1]}")
    if questions is not None and len(questions) != len(words):
        raise InputError(
            "every page needs one question", found=f"{len(questions)} for {len(words)} pages"
        )
