"""Image tokens before every text, and before its padding. (BLIP-2.)"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from mmedge.errors import ProjectError
from mmedge.runtime.preprocess.text import texts_of
from mmedge.runtime.processors.contract import RawInput
from mmedge.runtime.processors.image_steps import Pictures
from mmedge.runtime.processors.text_prompt import paired
from mmedge.runtime.processors.tokenize import Tokenization
from mmedge.tensors import Array


class PrefixedText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of method "prefixed": image tokens before every text, and its padding. (BLIP-2.)"""

    tokens: Tokenization
    image_token: str
    count: int

    def raw_inputs(self) -> dict[str, RawInput]:
        """A text, which may be absent."""
        return {"text": RawInput("text", self.tokens.outputs, optional=True, beside=("image",))}

    def convert(
        self, values: Mapping[str, object], pictures: Pictures | None, *, files: Path
    ) -> dict[str, Array]:
        """The tokenizer's outputs, int64 [batch, count + length] where there are images."""
        texts = texts_of(values["text"], name="text")
        tensors = self.tokens.tensors(self.tokens.encode(texts, files, name="text"))
        if pictures is None:
            return tensors
        paired(texts, pictures)
        image_id = self.tokens.tokenizer(files).token_to_id(self.image_token)
        if image_id is None:
            raise ProjectError(f"the tokenizer has no {self.image_token}", where=self.tokens.file)
        first = {"input_ids": image_id, "attention_mask": 1}
        return {
            name: np.pad(array, ((0, 0), (self.count, 0)), constant_values=first.get(name, 0))
            for name, array in tensors.items()
        }
