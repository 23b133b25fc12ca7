"""How a decoder with cross-attention is run token by token, and an example of one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from mmedge.tensors import Dim, TensorSpec
from mmedge.wiring import Generation
from mmedge_export.huggingface.cache_tensors import cache_names, cache_tensors
from mmedge_export.huggingface.decoder_beginning import Beginning
from mmedge_export.huggingface.generation_settings import (
    DEFAULT_NEW_TOKENS,
    generation_settings,
)
from mmedge_export.huggingface.recording import Recording

TOKENS = "input_ids"


class DecoderStep(Protocol):
    """A decoder's module. places: names of the mask and the positions it takes, if it does."""

    places: tuple[str, ...]

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """What it is bound to, ids, places, past -> logits and present."""
        ...


PLACES = ("decoder_attention_mask", "decoder_position_ids")


def cross_generation(
    decoder: str,
    step: DecoderStep,
    recording: Recording,
    begin: Beginning,
    *,
    model: Any,
    max_new_tokens: int | None,
) -> Generation:
    """The loop, as `generate` went through it."""
    longest = max_new_tokens or _longest(recording, model)
    settings = generation_settings(recording, model, max_new_tokens=longest)
    layers = len(self_attention(recording)) // 2
    past, present = (cache_names(layers, side="decoder", stem=s) for s in _STEMS)
    mask, positions = places_of(step)
    return Generation(
        decoder=decoder,
        token_input=TOKENS,
        logits_output="logits",
        cache=dict(zip(past, present, strict=True)),
        start_token_ids=begin.start_token_ids,
        end_token_ids=settings.end_token_ids,
        pad_token_id=settings.pad_token_id,
        max_new_tokens=longest,
        prompt=begin.prompt,
        prompt_mask=begin.mask,
        mask_input=mask,
        position_input=positions,
        rules=settings.rules,
    )


_STEMS = ("past_key_values", "present")


def self_attention(recording: Recording) -> list[Tensor]:
    """Each layer's own key and value after the last recorded step."""
    cache = recording.steps[-1]["past_key_values"]
    return cache_tensors(getattr(cache, "self_attention_cache", cache))


def places_of(step: DecoderStep) -> tuple[str | None, str | None]:
    """The decoder's inputs for the mask and the positions of its tokens, where it has them."""
    mask, positions = PLACES
    given = step.places
    return (
        mask if any("mask" in name for name in given) else None,
        positions if any("position" in name for name in given) else None,
    )


def _longest(recording: Recording, model: Any) -> int:
    """The longest answer that generation_config.json asks for and the decoder has places for."""
    stored = getattr(model, "generation_config", None)
    begun = recording.prompt.shape[1]
    asked = getattr(stored, "max_new_tokens", None)
    length = getattr(stored, "max_length", None)
    if asked is None and length:
        asked = max(1, length - begun)
    text = recording.generator.config.get_text_config(decoder=True)  # type: ignore[union-attr,operator]
    named = ("max_target_positions", "max_position_embeddings")
    places = next((p for p in (getattr(text, n, None) for n in named) if p), None)
    # (The last token is never fed and needs no place, but Whisper's `generate` counts it.)
    room = [places - begun] if places else []
    return int(min([asked or DEFAULT_NEW_TOKENS, *room]))


def step_example(
    step: DecoderStep,
    bound: Sequence[Tensor],
    recording: Recording,
    batch: Dim,
) -> tuple[tuple[TensorSpec, ...], dict[str, Tensor]]:
    """Specs and an example of what the loop feeds, in mid-sequence.

    bound: what the decoder's bindings hold. batch: the name of its first axis, or its size.
    The sizes are at least 2 and differ from each other and from any size in `bound`: torch.export
    takes 0 and 1 for constants, and equal sizes for one axis.
    """
    sizes = _free_sizes({size for tensor in bound for size in tensor.shape})
    new, past = next(sizes), next(sizes)
    rows = bound[0].shape[0]
    empty = [tensor[:, :, :0] for tensor in self_attention(recording)]
    with torch.no_grad():
        _, *cache = step(*bound, *_fed(step, recording, rows, past, before=0).values(), *empty)
    made = _fed(step, recording, rows, new, before=past)
    layers = len(cache) // 2
    made |= dict(zip(cache_names(layers, side="decoder"), cache, strict=True))
    axes: dict[str, tuple[Dim, ...]] = {
        TOKENS: (batch, "new"),
        PLACES[0]: (batch, "total"),
        PLACES[1]: (batch, "new"),
    }
    specs = []
    for name, tensor in made.items():
        heads, width = tensor.shape[1], tensor.shape[-1]
        shape = axes.get(name, (batch, heads, "past", width))
        specs.append(TensorSpec(name, str(tensor.dtype).removeprefix("torch."), shape))
    return tuple(specs), {name: tensor.contiguous().clone() for name, tensor in made.items()}


def _fed(
    step: DecoderStep, recording: Recording, rows: int, new: int, *, before: int
) -> dict[str, Tensor]:
    """`new` tokens after `before` others: ids, mask and positions, in the step's order."""
    known = torch.cat([recording.prompt[0], recording.tokens[0]])
    mask, positions = places_of(step)
    ids = known.repeat(new)[:new].expand(rows, -1).contiguous()
    fed: Mapping[str | None, Tensor] = {
        TOKENS: ids,
        mask: torch.ones(rows, before + new, dtype=torch.int64),
        positions: torch.arange(before, before + new).expand(rows, -1).contiguous(),
    }
    return {name: tensor for name, tensor in fed.items() if name is not None}


def _free_sizes(taken: set[int]) -> Iterator[int]:
    return (size for size in range(3, len(taken) + 6) if size not in taken)
