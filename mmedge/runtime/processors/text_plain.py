"""A text by itself: sentences, queries for every image, labels, or a decoder's first tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from mmedge.runtime.preprocess.text import texts_of
from mmedge.runtime.processors.contract import RawInput
from mmedge.runtime.processors.image_steps import Pictures
from mmedge.runtime.processors.texts import labels_of, queries_of
from mmedge.runtime.processors.tokenize import Tokenization
from mmedge.tensors import Array

BLANK = " "  # what upstream's OWL-ViT processor fills a shorter list of queries with


class PlainText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of method "plain".

    names: the model's names of outputs, where they are not the tokenizer's: a decoder's prompt.
    """

    tokens: Tokenization
    names: dict[str, str] = {}

    def raw_inputs(self) -> dict[str, RawInput]:
        """A text."""
        tensors = tuple(self.names.get(output, output) for output in self.tokens.outputs)
        return {"text": RawInput("text", tensors, optional=True)}

    def convert(
        self, values: Mapping[str, object], pictures: Pictures | None, *, files: Path
    ) -> dict[str, Array]:
        """The tokenizer's outputs, int64 [batch, length]."""
        encodings = self.tokens.encode(self._texts(values["text"]), files, name="text")
        tensors = self.tokens.tensors(encodings)
        return {self.names.get(output, output): array for output, array in tensors.items()}

    def _texts(self, value: object) -> list[str]:
        return texts_of(value, name="text")


class LabelText(PlainText, frozen=True, forbid_unknown_fields=True):
    """Options of method "labels": what to look for, as "a cat. a dog." (Grounding DINO.)"""

    def _texts(self, value: object) -> list[str]:
        return labels_of(value, name="text")


class QueryText(PlainText, frozen=True, forbid_unknown_fields=True):
    """Options of method "queries": for every image a list of texts. (OWL-ViT.)"""

    def convert(
        self, values: Mapping[str, object], pictures: Pictures | None, *, files: Path
    ) -> dict[str, Array]:
        """The tokenizer's outputs, int64 [batch, queries, length]; shorter lists end in blanks."""
        examples = queries_of(values["text"], name="text")
        most = max(len(queries) for queries in examples)
        filled = [one for row in examples for one in row + [BLANK] * (most - len(row))]
        tensors = self.tokens.tensors(self.tokens.encode(filled, files, name="text"))
        return {name: array.reshape(len(examples), most, -1) for name, array in tensors.items()}
