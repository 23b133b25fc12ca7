"""From token ids back to text, whole or piece by piece as they come."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from mmedge.errors import BundleError, InputError
from mmedge.optional import require
from mmedge.tensors import Array

OnText = Callable[[list[str]], None]
# What tokenizers put where the bytes so far are no character, or not yet.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# The library's ids are 32 bits wide.
LARGEST = 2**32


def texts(tokenizer: Any, tokens: Array, *, end_ids: Collection[int] = ()) -> list[str]:
    """The text of each row of int64 [batch, length], without special tokens.

    end_ids: a row is text up to the first of these; what follows is padding.
    Raises InputError for what is no token.
    """
    rows = np.asarray(tokens)
    if rows.ndim != 2 or rows.dtype.kind not in "iu":
        raise InputError(
            "these are no tokens",
            found=f"{rows.dtype}{list(rows.shape)}",
            expected="integers [batch, length]",
        )
    if rows.size and not 0 <= rows.min() <= rows.max() < LARGEST:
        raise InputError("these are no tokens", found=f"ids {rows.min()}..{rows.max()}")
    return [_text(tokenizer, row, end_ids) for row in rows]


def _text(tokenizer: Any, row: Array, end_ids: Collection[int]) -> str:
    ends = np.flatnonzero(np.isin(row, list(end_ids)))
    whole = row if not ends.size else row[: ends[0] + 1]
    text: str = tokenizer.decode(whole.tolist(), skip_special_tokens=True)
    return text


class TextStream:
    """Tells the texts of a growing batch, in pieces that are whole characters.

    on_text: called with the next piece of each sequence, "" where there is none.
    end_ids: a sequence ends at the first of these; what follows is padding.
    """

    def __init__(self, tokenizer: Any, on_text: OnText, *, end_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._on_text = on_text
        self._end_ids = frozenset(end_ids)
        self._rows: list[_GrowingText] = []

    def after(self, first: Callable[[Array], None] | None) -> Callable[[Array], None]:
        """A function that calls `first`, then `add`."""

        def both(tokens: Array) -> None:
            if first is not None:
                first(tokens)
            self.add(tokens)

        return both

    def add(self, tokens: Array) -> None:
        """One more token of each sequence."""
        if not self._rows:
            self._rows = [_GrowingText(self._tokenizer, self._end_ids) for _ in tokens]
        self._tell([row.add(int(token)) for row, token in zip(self._rows, tokens, strict=True)])

    def end(self) -> None:
        """Tell what has been held back: bytes that did not become a character."""
        self._tell([row.rest() for row in self._rows])

    def _tell(self, pieces: list[str]) -> None:
        if any(pieces):
            self._on_text(pieces)


class _GrowingText:
    """One sequence. Only the piece before the newest is decoded again, for what joins them."""

    def __init__(self, tokenizer: Any, end_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        self._ids: list[int] = []
        self._before, self._told = 0, 0  # where the last piece began, and where it ended

    def add(self, token: int) -> str:
        if self._ids and self._ids[-1] in self._end_ids:
            return ""
        self._ids.append(token)
        piece = self.rest()
        # More bytes may yet make a character of the last ones.
        if not piece or piece.endswith(REPLACEMENT):
            return ""
        self._before, self._told = self._told, len(self._ids)
        return piece

    def rest(self) -> str:
        told = self._text(self._ids[self._before : self._told])
        return self._text(self._ids[self._before :])[len(told) :]

    def _text(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text


def open_tokenizer(path: Path) -> Any:
    """The tokenizers.Tokenizer of a tokenizer.json; BundleError if it is none."""
    tokenizers = require("tokenizers")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises bare exceptions
        raise BundleError(
            f"{path.name} is not a tokenizer file", found=error, where=path
        ) from error
