"""Text to token ids, with the tokenizer that the model was trained with."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec
import numpy as np

from mmedge.errors import InputError, ProjectError
from mmedge.optional import require
from mmedge.tensors import Array, TensorSpec

logger = logging.getLogger(__name__)


class TextOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of kind "text". Padding and truncation are the tokenizer file's own.

    tokenizer: a tokenizer.json of the `tokenizers` library.
    output: which of the tokenizer's results this input takes.
    """

    tokenizer: str
    output: Literal["ids", "attention_mask", "type_ids"] = "ids"

    def __post_init__(self) -> None:
        """Refuse a path that would not travel with the model."""
        path = PurePosixPath(self.tokenizer)
        if not self.tokenizer or path.is_absolute() or ".." in path.parts:
            raise ValueError(f"tokenizer {self.tokenizer!r} is not a file below the project")

    def files(self) -> tuple[str, ...]:
        """The tokenizer file."""
        return (self.tokenizer,)

    def convert(self, value: object, spec: TensorSpec, files: Path) -> Array:
        """A str or a list of str as ids [batch, length] of the declared dtype.

        Where the tokenizer truncates, a warning is logged. The empty text is a text.
        Raises InputError for what is not text, for texts of unequal or undeclared length, and
        for ids beyond the declared dtype.
        """
        if np.dtype(spec.dtype).kind not in "iub":
            raise ProjectError(
                f"input {spec.name!r} takes text and is not declared as integers",
                found=spec.dtype,
                expected="int64",
            )
        texts = texts_of(value, name=spec.name)
        encodings = _encode(spec, _tokenizer(files / self.tokenizer), texts)
        cut = sum(bool(encoding.overflowing) for encoding in encodings)
        if cut:
            logger.warning("input %r: the tokenizer truncated %d text(s)", spec.name, cut)
        return _batch(spec, [getattr(encoding, self.output) for encoding in encodings])


def texts_of(value: object, *, name: str) -> list[str]:
    """A str or a list of str as a list; InputError for anything else, and for an empty list."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts:
        raise InputError(
            f"input {name!r} takes text",
            found="an empty list" if isinstance(texts, list | tuple) else type(value).__name__,
            expected="a str or a list of str",
        )
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"input {name!r} takes text", found=f"{type(text).__name__} at index {i}"
            )
    return list(texts)


def _encode(spec: TensorSpec, tokenizer: Any, texts: list[str]) -> list[Any]:
    try:
        encodings: list[Any] = tokenizer.encode_batch(texts)
    except Exception as error:  # the Rust library raises bare exceptions
        raise InputError(
            f"the tokenizer refused the text of input {spec.name!r}",
            found=f"{type(error).__name__}: {error}",
        ) from error
    return encodings


def _batch(spec: TensorSpec, rows: list[list[int]]) -> Array:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise InputError(
            f"the texts of input {spec.name!r} have different lengths in tokens",
            found=lengths,
            hint="switch padding on in the tokenizer file, or pass the texts one by one",
        )
    declared = spec.shape[-1] if spec.shape else None
    if isinstance(declared, int) and declared != lengths[0]:
        raise InputError(
            f"the text of input {spec.name!r} has the wrong length in tokens",
            found=lengths[0],
            expected=declared,
            hint=f"the tokenizer file should pad and truncate to {declared}",
        )
    ids = np.array(rows, dtype=np.int64).reshape(len(rows), lengths[0])
    if spec.dtype != "bool" and ids.size and ids.max() > np.iinfo(spec.dtype).max:
        raise InputError(
            f"a token id of input {spec.name!r} does not fit its dtype",
            found=int(ids.max()),
            expected=spec.dtype,
        )
    return ids.astype(spec.dtype)


def _tokenizer(path: Path) -> Any:
    if not path.is_file():
        raise ProjectError(f"the tokenizer file {path.name} is missing", expected=path)
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load(path: Path, mtime_ns: int) -> Any:
    """The tokenizer at `path`, read again only when the file has changed."""
    tokenizers = require("tokenizers")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise ProjectError(
            f"{path.name} is not a tokenizer file",
            found=error,
            expected="a tokenizer.json of the tokenizers library",
            where=path,
        ) from error
