"""A prompt in which images have their places. (LLaVA, SmolVLM, Qwen2-VL, Florence-2.)"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from mmedge.errors import InputError
from mmedge.runtime.preprocess.text import texts_of
from mmedge.runtime.processors.contract import RawInput
from mmedge.runtime.processors.decode_method import decode_method
from mmedge.runtime.processors.image_steps import Picture, Pictures
from mmedge.runtime.processors.image_tokens import (
    AnyResolutionTokens,
    FixedTokens,
    GridTokens,
    ImageTokens,
    LineTokens,
    MergedTokens,
    RepeatedTokens,
    TileTokens,
)
from mmedge.runtime.processors.tokenize import Tokenization
from mmedge.tensors import Array

RULES: dict[str, type[ImageTokens]] = {
    "fixed": FixedTokens,
    "grid": GridTokens,
    "lines": LineTokens,
    "merged": MergedTokens,
    "repeated": RepeatedTokens,
    "tiles": TileTokens,
    "any_resolution": AnyResolutionTokens,
}
IMAGES, TEXT = "{images}", "{text}"
LEAVE_OUT = "leave it out: it is put where the model expects the images"


class PromptTemplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What surrounds the user's text. (A chat template, rendered once for one question.)

    with_images: holds {images} and {text}. text_only: holds {text}. image: what is written for
    one image, with its token. strip: without the white space around the user's text.
    """

    with_images: str
    text_only: str
    image: str
    strip: bool = False

    def __post_init__(self) -> None:
        """Refuse a template without its places."""
        places = {"with_images": (IMAGES, TEXT), "text_only": (TEXT,)}
        for field, names in places.items():
            if any(getattr(self, field).count(name) != 1 for name in names):
                raise ValueError(f"{field} needs {' and '.join(names)} exactly once")

    def prompt(self, text: str, images: int) -> str:
        """The whole prompt for one question and its images."""
        template = self.with_images if images else self.text_only
        question = text.strip() if self.strip else text
        return template.replace(IMAGES, self.image * images).replace(TEXT, question)


class PromptText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of method "prompt".

    image_token: stands for an image in a prompt. image_tokens: the rule's table, {"method": ...}.
    tasks: texts that are short for a sentence; "{input}" is the rest of the text.
    whole: a text that holds image tokens is the whole prompt; else it is refused.
    bos: a templated prompt that begins with it gets no special tokens from the tokenizer.
    token_types: the name of an output that is 1 at image tokens, else 0. type_token: the token
    that counts as one, where it is not image_token. shared_mark: a token that stands once
    where two would meet, and apart from a word that follows it.
    """

    tokens: Tokenization
    image_token: str
    image_tokens: dict[str, object]
    template: PromptTemplate
    bos: str | None = None
    tasks: dict[str, str] = {}
    token_types: str | None = None
    type_token: str | None = None
    whole: bool = True
    shared_mark: str | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown rule before the first prompt."""
        self._rule()

    def raw_inputs(self) -> dict[str, RawInput]:
        """A text."""
        types = (self.token_types,) if self.token_types else ()
        return {"text": RawInput("text", (*self.tokens.outputs, *types), beside=("image",))}

    def convert(
        self, values: Mapping[str, object], pictures: Pictures | None, *, files: Path
    ) -> dict[str, Array]:
        """The tokenizer's outputs, int64 [batch, length], and mm_token_type_ids."""
        texts = texts_of(values["text"], name="text")
        examples = paired(texts, pictures)
        prompts = [self._prompt(*pair) for pair in zip(texts, examples, strict=True)]
        if len({prompt.special for prompt in prompts}) > 1:
            raise InputError(
                f"some texts hold {self.image_token} and some do not",
                hint="pass whole prompts, or questions only",
            )
        special = prompts[0].special and self.tokens.special_tokens
        expanded = [self._expanded(*pair) for pair in zip(prompts, examples, strict=True)]
        encodings = self.tokens.encode(expanded, files, name="text", special_tokens=special)
        tensors = self.tokens.tensors(encodings)
        if self.token_types:
            token = self.type_token or self.image_token
            is_image = tensors["input_ids"] == self.tokens.tokenizer(files).token_to_id(token)
            tensors[self.token_types] = is_image.astype(np.int64)
        return tensors

    def _prompt(self, text: str, pictures: list[Picture]) -> _Prompt:
        if self.image_token in text:
            if not self.whole:
                raise InputError(f"the text holds {self.image_token}", found=text, hint=LEAVE_OUT)
            return _Prompt(text, special=True)
        prompt = self.template.prompt(self._task(text), len(pictures))
        return _Prompt(prompt, special=not (self.bos and prompt.startswith(self.bos)))

    def _task(self, text: str) -> str:
        """The sentence that a task's name is short for, else the text."""
        for name, sentence in self.tasks.items():
            if name not in text:
                continue
            rest = text.replace(name, "").strip()
            if "{input}" not in sentence and text != name:
                raise InputError(f"the task {name} takes no text besides", found=text)
            return sentence.replace("{input}", rest)
        return text

    def _rule(self) -> ImageTokens:
        return decode_method(self.image_tokens, RULES, where="[text.image_tokens]")

    def _expanded(self, prompt: _Prompt, pictures: list[Picture]) -> str:
        parts = prompt.text.split(self.image_token)
        if len(parts) - 1 != len(pictures):
            raise InputError(
                f"the text holds another number of {self.image_token} than there are images",
                found=f"{len(parts) - 1} in the text, {len(pictures)} images",
                hint=LEAVE_OUT,
            )
        rule = self._rule()
        shown = [rule.text(self.image_token, picture) for picture in pictures]
        text = parts[0] + "".join(a + b for a, b in zip(shown, parts[1:], strict=True))
        if self.shared_mark is None:
            return text
        mark = self.shared_mark
        return re.sub(rf"{re.escape(mark)}(?=[^\s<])", f"{mark} ", text.replace(mark * 2, mark))


@dataclass(frozen=True)
class _Prompt:
    """A whole prompt, and whether the tokenizer puts its special tokens around it."""

    text: str
    special: bool


def paired(texts: list[str], pictures: Pictures | None) -> list[list[Picture]]:
    """Every text's pictures; InputError where there are not as many texts as examples."""
    if pictures is None:
        return [[] for _ in texts]
    if len(texts) != len(pictures.examples):
        raise InputError(
            "there are not as many texts as examples with images",
            found=f"{len(texts)} texts, {len(pictures.examples)} examples",
            hint="pass a list of images for every text",
        )
    return pictures.examples
