"""Drawing a token instead of taking the likeliest: transformers' warpers on numpy's numbers."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from mmedge.errors import InputError
from mmedge.tensors import Array


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a token is drawn; InputError for a value that has no meaning.

    The settings mean what they mean to transformers' `generate`, and are applied in this order.

    temperature: what the logits are divided by; greater than 0.
    top_k: only so many of the likeliest tokens (more, where the last of them have equal logits).
    top_p: only the fewest tokens whose probabilities add up to at least this; in 0..1.
    min_p: only tokens whose probability is at least this part of the likeliest's; in 0..1.
    seed: the same seed draws the same tokens, in a batch of the same size; None draws anew.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not _is_number(self.temperature) or not 0 < self.temperature < math.inf:
            raise InputError(
                "the temperature is not a positive number",
                found=self.temperature,
                hint="leave the sampling out for the likeliest token, which 0 would mean",
            )
        for name, least in (("top_p", "more than 0"), ("min_p", "0")):
            value = getattr(self, name)
            allowed = _is_number(value) and 0 <= value <= 1
            if not allowed or (name == "top_p" and value == 0):
                raise InputError(
                    f"{name} is not a probability", found=value, expected=f"{least} to 1"
                )
        for name, smallest in (("top_k", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and not (_is_integer(value) and value >= smallest):
                raise InputError(
                    f"{name} is not a number to use", found=value, expected=f"{smallest} or more"
                )


def warped(scores: Array, sampling: Sampling) -> Array:
    """The scores [batch, vocabulary] to draw from: -inf for what is left out."""
    if sampling.temperature != 1.0:
        scores = scores / np.float32(sampling.temperature)
    if sampling.top_k is not None:
        scores = _top_k(scores, sampling.top_k)
    if sampling.top_p < 1.0:
        scores = _top_p(scores, sampling.top_p)
    if sampling.min_p > 0.0:
        scores = _min_p(scores, sampling.min_p)
    return scores


def draw(scores: Array, random: np.random.Generator) -> Array:
    """One token of each row, as likely as the softmax of its scores says: int64 [batch]."""
    cumulative = probabilities(scores).cumsum(axis=-1)
    total = cumulative[:, -1:]
    threshold = random.random((len(scores), 1)) * total
    chosen = (cumulative <= threshold).sum(axis=-1)
    # Rounding may lift the threshold to the total: then the last token that has a probability.
    last: Array = np.minimum(chosen, (cumulative == total).argmax(axis=-1)).astype(np.int64)
    return last


def probabilities(scores: Array) -> Array:
    """Softmax along the last axis, in float64."""
    wide = scores.astype(np.float64)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    result: Array = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return result


def _top_k(scores: Array, count: int) -> Array:
    vocabulary = scores.shape[-1]
    first = vocabulary - min(count, vocabulary)
    least = np.partition(scores, first, axis=-1)[:, first, None]
    return _without(scores, scores < least)


def _top_p(scores: Array, mass: float) -> Array:
    """Without the least likely tokens that make up 1 - mass together; one always stays."""
    order = scores.argsort(axis=-1)
    cumulative = probabilities(np.take_along_axis(scores, order, axis=-1)).cumsum(axis=-1)
    removed = cumulative <= 1 - mass
    removed[:, -1] = False
    gone = np.zeros_like(removed)
    np.put_along_axis(gone, order, removed, axis=-1)
    return _without(scores, gone)


def _min_p(scores: Array, part: float) -> Array:
    found = probabilities(scores)
    return _without(scores, found < part * found.max(axis=-1, keepdims=True))


def _without(scores: Array, removed: Array) -> Array:
    return np.where(removed, np.float32(-np.inf), scores)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
