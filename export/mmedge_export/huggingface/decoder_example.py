"""An example of a decoder's call in mid-sequence, and which of its axes vary."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmedge.recipes import Tensors
from mmedge.tensors import TensorSpec
from mmedge_export.huggingface.cache_tensors import cache_names, cache_tensors
from mmedge_export.huggingface.causal_step import CausalStep
from mmedge_export.huggingface.prompt_embedder import DecoderCall
from mmedge_export.huggingface.prompt_parts import MASK, PROMPT
from mmedge_export.huggingface.recording import Recording
from mmedge_export.huggingface.token_places import TYPES, TokenTypes

# New tokens in the example: not 1, which torch.export takes for a constant, and not the size of
# the batch.
NEW_TOKENS = 3


def recorded_cache(recording: Recording) -> list[Tensor]:
    """The recorded past; a sliding window has forgotten the beginning, so the others do too."""
    tensors = cache_tensors(recording.steps[-1]["past_key_values"])
    past = min(tensor.shape[2] for tensor in tensors)
    return [tensor[:, :, -past:] for tensor in tensors]


def decoder_example(
    step: CausalStep,
    embed: nn.Module,
    example: Tensors,
    cache: list[Tensor],
    recording: Recording,
    call: DecoderCall | None,
) -> tuple[tuple[TensorSpec, ...], dict[str, Tensor]]:
    """Specs and an example in mid-sequence: a few new tokens after the recorded past."""
    batch, past = cache[0].shape[0], cache[0].shape[2]
    ids = example[PROMPT][:, -NEW_TOKENS:]
    embedded = embed(ids).detach()
    made: dict[str, tuple[tuple[int | str, ...], Tensor]] = {
        step.token_argument: (("batch", "new", embedded.shape[-1]), embedded)
    }
    if step.mask:
        mask = torch.ones(batch, past + NEW_TOKENS, dtype=torch.int64)
        made[MASK] = (("batch", "total"), mask)
    if step.positions:
        made["position_ids"] = _example_positions(call, recording, batch, past)
    if step.types is not None:
        made[TYPES] = (("batch", "total"), _example_types(step.types, example, batch, past))
    for name, tensor in zip(cache_names(len(cache) // 2), cache, strict=True):
        heads, width = tensor.shape[1], tensor.shape[3]
        made[name] = (("batch", heads, "past", width), tensor.detach().clone().contiguous())
    specs = tuple(
        TensorSpec(name, str(tensor.dtype).removeprefix("torch."), shape)
        for name, (shape, tensor) in made.items()
    )
    return specs, {name: tensor for name, (_, tensor) in made.items()}


def _example_types(types: TokenTypes, example: Tensors, batch: int, past: int) -> Tensor:
    """A block of a type that sees ahead, and a last token that has been generated."""
    known = sorted(set(example[TYPES].flatten().tolist()))
    block = next((kind for kind in known if kind != types.new), types.new)
    made = torch.full((batch, past + NEW_TOKENS), block)
    made[:, -1] = types.new
    return made


def _example_positions(
    call: DecoderCall | None, recording: Recording, batch: int, past: int
) -> tuple[tuple[int | str, ...], Tensor]:
    """As many axes as the prompt's positions have: `generate` may put others before them."""
    prompt = None if call is None else call.arguments.get("position_ids")
    recorded = recording.steps[-1].get("position_ids") if prompt is None else prompt
    row = torch.arange(past, past + NEW_TOKENS)
    if recorded is not None and recorded.ndim == 3:
        axes = recorded.shape[0]
        return (axes, "batch", "new"), row.expand(axes, batch, -1).contiguous()
    return ("batch", "new"), row.expand(batch, -1).contiguous()
