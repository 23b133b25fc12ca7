"""Decoding with a key-value cache, one token of every sequence at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mmedge.errors import InputError
from mmedge.generation import Generation
from mmedge.runtime.kv_cache import Bind, RunDecoder, cached_step, room
from mmedge.runtime.logits_rules import SoFar
from mmedge.runtime.next_token import GenerateOptions, NextToken
from mmedge.runtime.places import Places
from mmedge.runtime.prompt import Prompt
from mmedge.tensors import Array, Axis
from mmedge.wiring import ComponentSpec

# int64 [batch, length] -> [batch, length, hidden].
Embed = Callable[[Array], Array]


def generate(
    generation: Generation,
    decoder: ComponentSpec,
    run_decoder: RunDecoder,
    prompt: Prompt,
    *,
    feeds: Mapping[str, Array] = {},
    embed: Embed | None = None,
    bind: Bind | None = None,
    axes: Mapping[str, Axis] = {},
    options: GenerateOptions = GenerateOptions(),  # noqa: B008  (it is frozen)
) -> Array:
    """The next token, again and again: int64 [batch, new tokens].

    The answer has no prompt and no start tokens; it has the end token, and padding after it. It
    stops when every sequence has ended, after `options.max_new_tokens`, or, where that is left
    to the model, when the cache is full.

    feeds: the decoder's inputs besides `generation.fed`, the same at every step.
    embed: what `generation.embed` does; None where the decoder takes ids.
    bind: lets a cache of fixed capacity stay in place; without it the engine's copy is passed on.
    axes: the sizes that named axes may have.
    Raises InputError for an impossible `max_new_tokens` and a prompt that leaves no room,
    BundleError where the decoder's cache is not one, MmedgeError where the logits are not finite.
    """
    limit = _limit(generation, options, room(generation, decoder, axes, prompt.length))
    chooser = NextToken(generation, options)
    answer = _Answer(prompt, limit, chooser.end_ids)
    step = cached_step(generation, decoder, run_decoder, prompt.batch, bind=bind)
    places = Places(generation, decoder, prompt)
    dtype = next(spec.dtype for spec in decoder.inputs if spec.name == generation.token_input)
    as_fed = embed or (lambda ids: ids.astype(dtype))
    fed = as_fed(prompt.ids) if prompt.embeddings is None else prompt.embeddings
    while answer.goes_on:
        logits = step({**feeds, **places.feeds(), generation.token_input: fed})
        chosen = chooser.choose(logits, answer.so_far(), answer.ended)
        answer.add(chosen)
        if options.on_token is not None:
            options.on_token(chosen)
        if answer.goes_on:
            fed = as_fed(chosen[:, None])
            places.advance()
    return answer.tokens


class _Answer:
    """The sequences of a batch while they grow."""

    def __init__(self, prompt: Prompt, limit: int, end_ids: Array) -> None:
        self.ended = np.zeros(prompt.batch, dtype=bool)
        self._prompt = prompt
        self._started = self._length = prompt.ids.shape[1]
        self._end_ids = end_ids
        self._ids = np.pad(prompt.ids, ((0, 0), (0, limit)))

    @property
    def goes_on(self) -> bool:
        """Whether there is room, and a sequence that has not ended."""
        return self._length < self._ids.shape[1] and not self.ended.all()

    @property
    def tokens(self) -> Array:
        """What has been added: int64 [batch, new tokens]."""
        return self._ids[:, self._started : self._length].copy()

    def so_far(self) -> SoFar:
        """What the rules for logits look at."""
        return SoFar(
            ids=self._ids[:, : self._length],
            started=self._started,
            longest=self._ids.shape[1],
            end_ids=self._end_ids,
            padding=self._prompt.padding,
            encoder_ids=self._prompt.encoder_ids,
        )

    def add(self, tokens: Array) -> None:
        """One token to every sequence."""
        self._ids[:, self._length] = tokens
        self._length += 1
        self.ended |= np.isin(tokens, self._end_ids)


def _limit(generation: Generation, options: GenerateOptions, room: int | None) -> int:
    """How many tokens to make at most."""
    if room is not None and room < 1:
        raise InputError(
            f"the prompt is too long for decoder {generation.decoder!r}",
            found=f"{1 - room} tokens more than it has room for",
            hint="a shorter text, fewer or smaller images" + _more_room(generation),
        )
    asked = options.max_new_tokens
    if asked is None:
        limits = (generation.max_new_tokens, room, options.up_to)
        return min(limit for limit in limits if limit is not None)
    if not 0 <= asked <= generation.max_new_tokens:
        raise InputError(
            "max_new_tokens is outside what the model was compiled for",
            found=asked,
            expected=f"0..{generation.max_new_tokens}",
            hint=_longer_answers(generation.max_new_tokens) if asked > 0 else None,
        )
    if room is not None and asked > room:
        raise InputError(
            "max_new_tokens does not fit behind this prompt",
            found=asked,
            expected=f"0..{room}",
            hint=f"--max-new-tokens {room}, a shorter text{_more_room(generation)}",
        )
    return asked


def _longer_answers(limit: int) -> str:
    return (
        f"--max-new-tokens {limit}; for longer answers compile again, after raising max_new_tokens "
        "in the\ncheckpoint's generation_config.json, or in [recipe] of the project that "
        "`mmedge init` writes"
    )


def _more_room(generation: Generation) -> str:
    return "" if generation.capacity is None else ", or compile with a larger --cache-capacity"
