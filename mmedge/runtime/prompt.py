"""What every sequence of a batch begins with: a prompt, or the start tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmedge.errors import BundleError, InputError
from mmedge.generation import Generation, Source
from mmedge.tensors import Array

# A source's value; None where the optional input behind it was not given.
Value = Callable[[Source | None], Array | None]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The beginning of a batch; InputError where there is nothing to continue.

    ids: int64 [batch, length]; where there are embeddings it may be of another length, or empty:
        the decoder is fed the embeddings, and the rules for logits look at the ids.
    embeddings: [batch, length, hidden].
    mask: int64 [batch, length], 0 where the prompt is padded, on the left; None if nowhere.
    positions: int64 [batch, length] or [axes, batch, length]; None if they count the tokens.
    types: int64 [batch, length]: of what kind each token is; None if nothing asks.
    encoder_ids: int64 [batch, any length]: what an encoder has read.
    """

    ids: Array
    embeddings: Array | None = None
    mask: Array | None = None
    positions: Array | None = None
    types: Array | None = None
    encoder_ids: Array | None = None

    def __post_init__(self) -> None:
        """Refuse an empty batch, an empty prompt, and padding where the answer should go on."""
        fed = self.ids if self.embeddings is None else self.embeddings
        if not fed.shape[0] or not fed.shape[1]:
            raise InputError(
                "there is nothing to continue",
                found=f"a prompt of {fed.shape[0]} sequences of {fed.shape[1]} tokens",
                expected="at least one token in at least one sequence",
            )
        if self.mask is not None:
            _check_mask(self.mask, fed.shape[:2])
        if self.types is not None and self.types.shape != fed.shape[:2]:
            raise BundleError(
                "the token types are not one for each token of the prompt",
                found=list(self.types.shape),
                expected=list(fed.shape[:2]),
            )
        if self.positions is not None and self.positions.shape[-2:] != fed.shape[:2]:
            raise BundleError(
                "the positions are not one for each token of the prompt",
                found=list(self.positions.shape),
                expected=f"[..., {fed.shape[0]}, {fed.shape[1]}]",
            )

    @property
    def batch(self) -> int:
        """Sequences."""
        return int((self.ids if self.embeddings is None else self.embeddings).shape[0])

    @property
    def length(self) -> int:
        """Tokens that the decoder is fed at first."""
        return int((self.ids if self.embeddings is None else self.embeddings).shape[1])

    @property
    def seen(self) -> Array:
        """The mask, or ones: int64 [batch, length]."""
        ones = np.ones((self.batch, self.length), dtype=np.int64)
        return ones if self.mask is None else self.mask.astype(np.int64)

    @property
    def token_types(self) -> Array:
        """The types, or zeros: int64 [batch, length]."""
        zeros = np.zeros((self.batch, self.length), dtype=np.int64)
        return zeros if self.types is None else self.types.astype(np.int64)

    @property
    def padding(self) -> Array:
        """How many of `ids` are padding, by sequence: int64 [batch, 1]."""
        if self.mask is None or self.mask.shape != self.ids.shape:
            return np.zeros((self.batch, 1), dtype=np.int64)
        padding: Array = (self.mask != 0).argmax(axis=1)[:, None]
        return padding


def read_prompt(generation: Generation, value: Value, batch: int) -> Prompt | None:
    """The prompt of this call, or None where an optional input it needs is absent.

    batch: sequences, where only start tokens are fed.
    """
    ids, embeddings = value(generation.prompt), value(generation.prompt_embeddings)
    if ids is None:
        if embeddings is None and generation.required:
            return None
        batch = batch if embeddings is None else embeddings.shape[0]
        ids = np.tile(np.array(generation.start_token_ids, dtype=np.int64), (batch, 1))
    encoder_ids = value(generation.encoder_ids)
    return Prompt(
        ids=ids.astype(np.int64),
        embeddings=embeddings,
        mask=value(generation.prompt_mask),
        positions=value(generation.prompt_positions),
        types=value(generation.prompt_token_types),
        encoder_ids=value(generation.prompt) if encoder_ids is None else encoder_ids,
    )


def _check_mask(mask: Array, shape: tuple[int, ...]) -> None:
    if mask.shape != shape:
        raise BundleError(
            "the mask is not one entry for each token of the prompt",
            found=list(mask.shape),
            expected=list(shape),
        )
    unseen = np.flatnonzero(mask[:, -1] == 0)
    if unseen.size:
        row = unseen[0]
        empty = not mask[row].any()
        raise InputError(
            f"sequence {row} of the prompt is {'empty' if empty else 'padded on the right'}",
            found=f"mask {mask[row].tolist()}",
            expected="1 at the last token, padding on the left",
        )
