"""What a checkpoint does to the logits before a token is chosen: transformers' logits processors.

Each rule is one function of the scores, float32 [batch, vocabulary], and gives new ones. The
numbers, the order and the corner cases are those of transformers 5.23.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmedge.errors import BundleError
from mmedge.generation import LogitsRules
from mmedge.tensors import Array


@dataclass(frozen=True)
class SoFar:
    """What the rules look at.

    ids: the start or the prompt, then the answer up to now, int64 [batch, length].
    started: how many of `ids` were there at first.
    longest: the length that `ids` may reach.
    end_ids: the tokens that end a sequence, int64.
    padding: how many of `ids` are padding on the left, by sequence, int64 [batch, 1].
    encoder_ids: what an encoder has read, int64 [batch, any length].
    """

    ids: Array
    started: int
    longest: int
    end_ids: Array
    padding: Array
    encoder_ids: Array | None = None

    @property
    def length(self) -> int:
        """Tokens until now."""
        return int(self.ids.shape[1])


def apply_rules(rules: LogitsRules, scores: Array, so_far: SoFar) -> Array:
    """The scores after every rule, in transformers' order."""
    for rule in (
        _penalize_encoder_ids,
        _penalize_repetition,
        _ban_repeated_ngrams,
        _ban_bad_words,
        _ban_early_end,
        _force_first,
        _force_last,
        _suppress,
        _suppress_at_begin,
    ):
        scores = rule(rules, scores, so_far)
    return scores


def check_vocabulary(rules: LogitsRules, vocabulary: int) -> None:
    """Raise BundleError where a rule bans or forces a token that the decoder does not have."""
    named = {
        "bad_words_ids": [token for word in rules.bad_words_ids for token in word],
        "forced_bos_token_id": [] if rules.forced_bos_token_id is None else [
            rules.forced_bos_token_id
        ],
        "forced_eos_token_id": list(rules.forced_eos_token_id),
    }  # fmt: skip
    for name, tokens in named.items():
        if tokens and max(tokens) >= vocabulary:
            raise BundleError(
                f"{name} has a token that the decoder does not",
                found=max(tokens),
                expected=f"0..{vocabulary - 1}",
            )


def _penalize_encoder_ids(rules: LogitsRules, scores: Array, so_far: SoFar) -> Array:
    penalty = rules.encoder_repetition_penalty
    if penalty == 1.0 or so_far.encoder_ids is None:
        return scores
    return _penalized(scores, _named(so_far.encoder_ids, scores), 1 / penalty)


def _penalize_repetition(rules: LogitsRules, scores: Array, so_far: SoFar) -> Array:
    if rules.repetition_penalty == 1.0:
        return scores
    padded = np.arange(so_far.length) < so_far.padding
    ids = np.where(padded, scores.shape[1], so_far.ids)
    return _penalized(scores, _named(ids, scores), rules.repetition_penalty)


def _ban_repeated_ngrams(rules: LogitsRules, scores: Array, so_far: SoFar) -> Array:
    """No n tokens in a row a second time: the last of each n-gram that began as the end does."""
    size = rules.no_repeat_ngram_size
    if not 0 < size <= so_far.length:
        return scores
    ngrams = np.lib.stride_tricks.sliding_window_view(so_far.ids, size, axis=1)
    end = so_far.ids[:, so_far.length + 1 - size :]
    matches = (ngrams[..., :-1] == end[:, None]).all(axis=-1)
    return _banned(scores, _named(np.where(matches, ngrams[..., -1], scores.shape[1]), scores))


def _ban_bad_words(rules: LogitsRules, scores: Array, so_far: SoFar) -> Array:
    """The last token of each word whose other tokens have just been said; never a lone end."""
    banned = np.zeros(scores.shape, dtype=bool)
    for *beginning, last in rules.bad_words_ids:
        if not beginning:
            banned[:, last] |= last not in so_far.end_ids
        elif len(beginning) <= so_far.length:
            said = so_far.ids[:, -len(beginning) :] == np.array(beginning)
            banned[:, last] |= said.all(axis=1)
    return _banned(scores, banned)


def _ban_early_end(rules: LogitsRules, scores: Array, so_far: SoFar) -> Array:
    """No end before the least length; `generate` overlooks min_length beside min_new_tokens."""
    by_new = so_far.started + rules.min_new_tokens
    if so_far.length >= (by_new if rules.min_new_tokens else rules.min_length):
        return scores
    return _banned(scores, _among(so_far.end_ids, scores))


def _force_first(rules: LogitsRules, scores: Array, so_far: SoFar) -> Array:
    if rules.forced_bos_token_id is None or so_far.length != 1:
        return scores
    return _only([rules.forced_bos_token_id], scores)


def _force_last(rules: LogitsRules, scores: Array, so_far: SoFar) -> Array:
    if not rules.forced_eos_token_id or so_far.length != so_far.longest - 1:
        return scores
    return _only(rules.forced_eos_token_id, scores)


def _suppress(rules: LogitsRules, scores: Array, so_far: SoFar) -> Array:
    return _banned(scores, _among(rules.suppress_tokens, scores))


def _suppress_at_begin(rules: LogitsRules, scores: Array, so_far: SoFar) -> Array:
    """At the first free token: the second, where a lone start is followed by a forced one."""
    forced = so_far.started <= 1 and rules.forced_bos_token_id is not None
    if so_far.length != so_far.started + forced:
        return scores
    return _banned(scores, _among(rules.begin_suppress_tokens, scores))


def _named(ids: Array, scores: Array) -> Array:
    """Which tokens of each row `ids` names: bool [batch, vocabulary]; others are overlooked.

    (An embedding may have more tokens than the logits do.)
    """
    batch, vocabulary = scores.shape
    named = np.zeros((batch, vocabulary + 1), dtype=bool)
    outside = (ids < 0) | (ids >= vocabulary)
    np.put_along_axis(named, np.where(outside, vocabulary, ids), True, axis=1)
    return named[:, :vocabulary]


def _among(tokens: Array | tuple[int, ...], scores: Array) -> Array:
    """bool [vocabulary]: whether each token is one of `tokens`."""
    return np.isin(np.arange(scores.shape[1]), np.asarray(tokens, dtype=np.int64))


def _penalized(scores: Array, named: Array, penalty: float) -> Array:
    penalized = np.where(scores < 0, scores * penalty, scores / penalty)
    return np.where(named, penalized, scores)


def _banned(scores: Array, banned: Array) -> Array:
    return np.where(banned, np.float32(-np.inf), scores)


def _only(tokens: tuple[int, ...] | list[int], scores: Array) -> Array:
    forced = np.full_like(scores, -np.inf)
    forced[:, list(tokens)] = 0
    return forced
