"""Greedy decoding with a key-value cache, one token of every sequence at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mmedge.errors import BundleError, InputError, MmedgeError
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ComponentSpec, Generation

OnToken = Callable[[Array], None]
RunDecoder = Callable[[dict[str, Array]], dict[str, Array]]


def generate_greedy(
    generation: Generation,
    decoder: ComponentSpec,
    run_decoder: RunDecoder,
    fixed_feeds: Mapping[str, Array],
    batch: int,
    *,
    max_new_tokens: int | None = None,
    on_token: OnToken | None = None,
) -> Array:
    """The most likely next token, again and again: int64 [batch, new tokens].

    The answer has no start tokens; it has the end token, and padding after it. On equal logits
    the lowest token id wins, as with torch.argmax on a CPU. It stops when every sequence has
    ended, or after `max_new_tokens` (by default, and at most, what the model declares).

    fixed_feeds: the decoder's inputs besides the tokens and the cache, the same at every step.
    on_token: called with the tokens of each step, int64 [batch].
    Raises InputError for an impossible `max_new_tokens`, BundleError where the decoder's cache
    is not one, MmedgeError where the logits are not finite.
    """
    limit = _limit(generation, max_new_tokens)
    specs = {spec.name: spec for spec in decoder.inputs}
    token_spec = specs[generation.token_input]
    if not generation.start_token_ids:
        raise BundleError(f"decoder {decoder.name!r} has no start token")
    start = np.array(generation.start_token_ids, dtype=token_spec.dtype)
    tokens = np.tile(start, (batch, 1))
    past = {name: _empty_cache(specs[name], token_spec, batch) for name in generation.cache}
    ended = np.zeros(batch, dtype=bool)
    answer: list[Array] = []
    while len(answer) < limit and not ended.all():
        outputs = run_decoder({**fixed_feeds, **past, generation.token_input: tokens})
        step = _next_tokens(_output(outputs, generation.logits_output, decoder), ended, generation)
        answer.append(step)
        if on_token is not None:
            on_token(step)
        ended |= np.isin(step, generation.end_token_ids)
        past = {
            name: _output(outputs, present, decoder) for name, present in generation.cache.items()
        }
        tokens = step[:, None].astype(token_spec.dtype)
    return np.stack(answer, axis=1) if answer else np.zeros((batch, 0), dtype=np.int64)


def _limit(generation: Generation, asked: int | None) -> int:
    if asked is None:
        return generation.max_new_tokens
    if not 0 <= asked <= generation.max_new_tokens:
        raise InputError(
            "max_new_tokens is outside what the model was compiled for",
            found=asked,
            expected=f"0..{generation.max_new_tokens}",
        )
    return asked


def _empty_cache(spec: TensorSpec, token_spec: TensorSpec, batch: int) -> Array:
    """The cache before the first token: `batch` sequences, no past."""
    batch_axis = token_spec.shape[0]
    past_axes = [dim for dim in spec.dynamic_axes.values() if dim != batch_axis]
    if len(past_axes) != 1:
        raise BundleError(
            f"decoder input {spec.name!r} is not a growing cache",
            found=spec,
            expected=f"one dynamic axis besides {batch_axis!r}: the past length",
        )
    size = {batch_axis: batch, past_axes[0]: 0}
    shape = tuple(size[dim] if isinstance(dim, str) else dim for dim in spec.shape)
    return np.zeros(shape, dtype=spec.dtype)


def _next_tokens(logits: Array, ended: Array, generation: Generation) -> Array:
    """argmax over the last position of logits [batch, positions, vocabulary]: int64 [batch]."""
    last = logits[:, -1, :]
    best = last.max(axis=-1)  # NaN if any logit is NaN; a masked token's -inf is no fault
    faulty = np.flatnonzero(~np.isfinite(best) & ~ended)
    if faulty.size:
        raise MmedgeError(
            f"the logits of decoder {generation.decoder!r} are not finite",
            found=f"largest logit {best[faulty[0]]} in sequence {faulty[0]} of the batch",
            hint="a float16 overflow does this: keep the decoder in float32",
        )
    chosen = last.argmax(axis=-1).astype(np.int64)
    return np.where(ended, np.int64(generation.pad_token_id), chosen)


def _output(outputs: Mapping[str, Array], name: str, decoder: ComponentSpec) -> Array:
    if name not in outputs:
        raise BundleError(
            f"decoder {decoder.name!r} did not return {name!r}", found=", ".join(sorted(outputs))
        )
    return outputs[name]
