"""From the logits of one step to the next token of every sequence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmedge.errors import BundleError, InputError, MmedgeError
from mmedge.generation import COMPARED_TOKENS, Generation
from mmedge.runtime.logits_rules import SoFar, apply_rules, check_vocabulary
from mmedge.runtime.sampling import Sampling, draw, warped
from mmedge.tensors import Array

OnToken = Callable[[Array], None]


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """What a caller may ask of generation.

    max_new_tokens: at most so many; by default, and at most, what the model declares.
    up_to: as max_new_tokens, and fewer where the model declares fewer or has no room for them.
    sampling: how a token is drawn; None takes the likeliest.
    stop_token_ids: tokens that end a sequence, besides the model's own.
    on_token: called with the tokens of each step, int64 [batch].
    """

    max_new_tokens: int | None = None
    up_to: int | None = None
    sampling: Sampling | None = None
    stop_token_ids: tuple[int, ...] = ()
    on_token: OnToken | None = None

    def __post_init__(self) -> None:
        """Refuse what is no token, and what is no number of tokens."""
        for token in self.stop_token_ids:
            if isinstance(token, bool) or not isinstance(token, int | np.integer) or token < 0:
                raise InputError("a stop token is not a token id", found=token)
        asked = self.max_new_tokens
        if asked is not None and (isinstance(asked, bool) or not isinstance(asked, int)):
            raise InputError("max_new_tokens is not a whole number", found=asked)


GREEDY = GenerateOptions()
# What the model's own answers are compared with, and timed against.
COMPARED = GenerateOptions(up_to=COMPARED_TOKENS)


class NextToken:
    """Chooses the tokens of one generation, step by step."""

    def __init__(self, generation: Generation, options: GenerateOptions) -> None:
        ends = {*generation.end_token_ids, *options.stop_token_ids}
        self.end_ids = np.array(sorted(ends), dtype=np.int64)
        self._generation = generation
        self._stops = options.stop_token_ids
        self._sampling = options.sampling
        seed = None if options.sampling is None else options.sampling.seed
        self._random = np.random.default_rng(seed)
        self._vocabulary: int | None = None

    def choose(self, logits: Array, so_far: SoFar, ended: Array) -> Array:
        """The next tokens, int64 [batch]; padding where a sequence has `ended`, bool [batch].

        logits: [batch, positions, vocabulary], of which the last position counts. On equal
        scores the lowest token id wins, as with torch.argmax on a CPU.
        Raises MmedgeError where no token is left, or the logits are not finite.
        """
        # transformers chooses in float32, whatever the model computes in.
        last = logits[:, -1, :].astype(np.float32)
        self._check_vocabulary(last.shape[1])
        self._check_finite(last, ended)
        scores = apply_rules(self._generation.rules, last, so_far)
        self._check_any_left(scores, ended)
        # What an ended sequence has may be no distribution; its draw is thrown away.
        chosen = self._pick(np.where(ended[:, None], np.float32(0), scores))
        return np.where(ended, np.int64(self._generation.pad_token_id), chosen)

    def _pick(self, scores: Array) -> Array:
        if self._sampling is not None:
            return draw(warped(scores, self._sampling), self._random)
        likeliest: Array = scores.argmax(axis=-1)
        return likeliest

    def _check_vocabulary(self, vocabulary: int) -> None:
        if vocabulary == self._vocabulary:
            return
        check_vocabulary(self._generation.rules, vocabulary)
        if self._stops and max(self._stops) >= vocabulary:
            raise InputError(
                "a stop token is not in the vocabulary",
                found=max(self._stops),
                expected=f"0..{vocabulary - 1}",
            )
        self._vocabulary = vocabulary

    def _check_finite(self, last: Array, ended: Array) -> None:
        best = last.max(axis=-1)  # NaN if any logit is NaN; a masked token's -inf is no fault
        faulty = np.flatnonzero(~np.isfinite(best) & ~ended)
        if faulty.size:
            raise MmedgeError(
                f"the logits of decoder {self._generation.decoder!r} are not finite",
                found=f"largest logit {best[faulty[0]]} in sequence {faulty[0]} of the batch",
                hint="a float16 overflow does this: keep the decoder in float32",
            )

    def _check_any_left(self, scores: Array, ended: Array) -> None:
        none = np.flatnonzero((scores.max(axis=-1) == -np.inf) & ~ended)
        if none.size:
            raise BundleError(
                f"the rules of decoder {self._generation.decoder!r} suppress every token",
                found=f"nothing is left for sequence {none[0]} of the batch",
                where=self._generation.rules,
            )
