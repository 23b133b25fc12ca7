"""Tokens that an engine may choose otherwise: those that are nearly as good to the model itself.

An engine of 16 bits rounds its scores. Where the model's two best are closer than that, either is
an answer, and all that follows depends on it: from there on the answers are not comparable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from mmedge.errors import VerificationError
from mmedge.recipes import Split
from mmedge.tensors import Array
from mmedge.verify.model_scores import model_scores
from mmedge.verify.outputs import same_length
from mmedge.wiring import Wiring


class NearTie(msgspec.Struct, frozen=True):
    """Where the answer to one example parts from the model's.

    gap: how far the model's score of `found` is behind that of `wanted`, relative to the largest.
    """

    example: int
    position: int
    wanted: int
    found: int
    gap: float


def partings(wanted: Array, found: Array, ends: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """(row, position) of the first token that differs, in every row where one does.

    What is behind the end of an answer is padding, and no token.
    """
    first, second = same_length(wanted, found)
    for row, (mine, other) in enumerate(zip(first, second, strict=True)):
        different = np.flatnonzero(mine != other)
        if different.size and not np.isin(mine[: different[0]], ends).any():
            yield row, int(different[0])


def near_ties(
    split: Split,
    wiring: Wiring,
    inputs: Mapping[str, Array],
    wanted: Array,
    found: Array,
    *,
    tolerance: float,
    examples: list[int],
) -> list[NearTie]:
    """Why each answer of a batch parts from the model's, where it does.

    examples: the samples' numbers, row by row. Raises VerificationError for a token that the
    model's own scores do not excuse.
    """
    generation = wiring.generation
    assert generation is not None
    parted = list(partings(wanted, found, generation.end_token_ids))
    if not parted:
        return []
    scores = model_scores(split, wiring, inputs, rivals=found)
    ties = []
    for row, position in parted:
        mine, other = (_at(tokens, row, position) for tokens in (wanted, found))
        same = np.array_equal(scores.tokens[row, : position + 1], wanted[row, : position + 1])
        gap = float(scores.gaps[row, position]) if same else float("inf")
        ties.append(NearTie(examples[row], position, mine, other, gap))
        if not gap <= tolerance:
            raise _not_a_tie(ties[-1], tolerance)
    return ties


def accepted(
    wanted: Array, found: Array, margins: Array, tolerance: float, *, ends: tuple[int, ...]
) -> bool:
    """Whether tokens part only where the model was nearly undecided.

    margins: how far its second best token was behind its best, [batch, tokens].
    """
    return all(
        position < margins.shape[1] and bool(margins[row, position] <= tolerance)
        for row, position in partings(wanted, found, ends)
    )


def _at(tokens: Array, row: int, position: int) -> int:
    return int(tokens[row, position]) if position < tokens.shape[1] else -1


def _not_a_tie(tie: NearTie, tolerance: float) -> VerificationError:
    return VerificationError(
        "the engines choose another token than the model",
        found=f"token {tie.found} for {tie.wanted} at position {tie.position} of sample "
        f"{tie.example}; the model's score of it is {tie.gap:.2e} behind, of the largest score",
        expected=f"the model's token, or one whose score is at most {tolerance:.0e} behind",
        hint="a higher --precision, or another one (bf16 has a wider range, fp16 more digits)",
    )
