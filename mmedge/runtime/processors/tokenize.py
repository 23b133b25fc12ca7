"""Texts to the tensors of a tokenizer: ids, masks and types, padded as the checkpoint says."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np

from mmedge.errors import InputError, ProjectError
from mmedge.optional import require
from mmedge.tensors import Array

logger = logging.getLogger(__name__)

Side = Literal["left", "right"]
Words = Sequence[str] | tuple[Sequence[str], Sequence[str]]
FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


class Tokenization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How texts become tokens, whatever they are made of.

    file: a tokenizer.json of the `tokenizers` library. outputs: upstream's `model_input_names`.
    max_length: a longer text is cut (`overlong` "cut") or refused. padding: to the longest text
    of the batch, or to max_length. added_tokens: special tokens that the file lacks.
    template: the tokens around every text, "$A" standing for it, where they are not the file's.
    """

    file: str = "tokenizer.json"
    outputs: tuple[Literal["input_ids", "attention_mask", "token_type_ids"], ...] = (
        "input_ids",
        "attention_mask",
    )
    special_tokens: bool = True
    max_length: Annotated[int, msgspec.Meta(gt=0)] | None = None
    overlong: Literal["cut", "refuse"] = "cut"
    truncation_side: Side = "right"
    padding: Literal["longest", "max_length"] = "longest"
    padding_side: Side = "right"
    pad_token: str | None = None
    pad_type_id: int = 0
    added_tokens: tuple[str, ...] = ()
    template: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a path that would not travel with the model, and padding to no length."""
        path = PurePosixPath(self.file)
        if not self.file or path.is_absolute() or ".." in path.parts:
            raise ValueError(f"tokenizer {self.file!r} is not a file below the checkpoint")
        if self.padding == "max_length" and self.max_length is None:
            raise ValueError("padding to max_length needs max_length")

    def tokenizer(self, files: Path) -> Any:
        """The tokenizer, ready to encode; ProjectError where its file is missing or none."""
        path = files / self.file
        if not path.is_file():
            raise ProjectError(f"the tokenizer file {self.file} is missing", expected=path)
        cut = self.max_length if self.overlong == "cut" else None
        settings = _Settings(self.added_tokens, self.template, cut, self.truncation_side)
        return _load(path, path.stat().st_mtime_ns, settings)

    def encode(
        self,
        texts: Sequence[str | Words],
        files: Path,
        *,
        name: str,
        special_tokens: bool | None = None,
    ) -> list[Any]:
        """The `tokenizers` encodings of texts, or of lists of words, of equal length.

        Raises InputError for what the tokenizer refuses, for a text without a single token, for
        a text that is too long and may not be cut, and for unequal texts it cannot pad.
        """
        tokenizer = self.tokenizer(files)
        special = self.special_tokens if special_tokens is None else special_tokens
        words = not isinstance(texts[0], str)
        try:
            encodings = tokenizer.encode_batch(
                list(texts), add_special_tokens=special, is_pretokenized=words
            )
        except Exception as error:  # the Rust library raises bare exceptions
            raise InputError(
                f"the tokenizer refused the text of input {name!r}",
                found=f"{type(error).__name__}: {error}",
            ) from error
        self._check_lengths(encodings, name)
        return self._equally_long(tokenizer, encodings, name)

    def tensors(self, encodings: list[Any]) -> dict[str, Array]:
        """The outputs, int64 [batch, length]."""
        return {
            output: np.array([getattr(one, FIELDS[output]) for one in encodings], dtype=np.int64)
            for output in self.outputs
        }

    def _check_lengths(self, encodings: list[Any], name: str) -> None:
        if any(len(encoding) == 0 for encoding in encodings):
            raise InputError(f"the text of input {name!r} has no tokens", expected="some text")
        cut = sum(bool(encoding.overflowing) for encoding in encodings)
        if cut:
            logger.warning("input %r: %d text(s) cut to %d tokens", name, cut, self.max_length)
        longest = max(len(encoding) for encoding in encodings)
        if self.max_length is not None and longest > self.max_length:
            raise InputError(
                f"the text of input {name!r} is too long",
                found=f"{longest} tokens, with those that stand for images",
                expected=f"at most {self.max_length}",
                hint="a shorter text, or fewer or smaller images",
            )

    def _equally_long(self, tokenizer: Any, encodings: list[Any], name: str) -> list[Any]:
        """All of them padded to one length."""
        longest = max(len(encoding) for encoding in encodings)
        length = self.max_length if self.padding == "max_length" else longest
        if all(len(encoding) == length for encoding in encodings):
            return encodings
        pad_id = tokenizer.token_to_id(self.pad_token) if self.pad_token is not None else None
        if pad_id is None:
            raise InputError(
                f"the texts of input {name!r} have different lengths in tokens",
                found=sorted({len(encoding) for encoding in encodings}),
                hint="the checkpoint's tokenizer has no padding token: pass them one by one",
            )
        for encoding in encodings:
            encoding.pad(
                length,
                direction=self.padding_side,
                pad_id=pad_id,
                pad_type_id=self.pad_type_id,
                pad_token=self.pad_token,
            )
        return encodings


class _Settings(NamedTuple):
    """What is set on a tokenizer when it is loaded."""

    added_tokens: tuple[str, ...]
    template: tuple[str, ...]
    cut: int | None
    truncation_side: Side


@lru_cache(maxsize=8)
def _load(path: Path, mtime_ns: int, settings: _Settings) -> Any:
    """The tokenizer at `path`, read again when the file has changed. It pads nothing itself."""
    tokenizers = require("tokenizers")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise ProjectError(
            f"{path.name} is not a tokenizer file",
            found=error,
            expected="a tokenizer.json of the tokenizers library",
            where=path,
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.add_special_tokens(list(settings.added_tokens))
    if settings.template:
        tokenizer.post_processor = _around(tokenizer, settings.template)
    if settings.cut is not None:
        tokenizer.enable_truncation(settings.cut, direction=settings.truncation_side)
    return tokenizer


def _around(tokenizer: Any, template: tuple[str, ...]) -> Any:
    """The post-processor that puts the template's tokens around a text, and around a pair."""
    specials = [token for token in template if token != "$A"]
    ids = {token: tokenizer.token_to_id(token) for token in specials}
    lost = [token for token, number in ids.items() if number is None]
    if lost:
        raise ProjectError("the tokenizer lacks tokens of its template", found=", ".join(lost))
    single = [f"{token}:0" for token in template]
    second = [f"{'$B' if token == '$A' else token}:1" for token in template]
    processors = require("tokenizers.processors")
    return processors.TemplateProcessing(
        single=single, pair=single + second, special_tokens=sorted(ids.items())
    )
