"""The decoder of a prompt with embeddings: its module, and the loop that calls it."""

from __future__ import annotations

import inspect

from torch import nn

from mmedge.errors import ProjectError
from mmedge.recipes import Tensors
from mmedge.wiring import Generation
from mmedge_export.huggingface.cache_tensors import cache_names
from mmedge_export.huggingface.causal_step import CausalStep
from mmedge_export.huggingface.generation_settings import generation_settings
from mmedge_export.huggingface.prompt_embedder import DecoderCall
from mmedge_export.huggingface.prompt_parts import EMBED, MASK, MERGE, PROMPT, has_axes
from mmedge_export.huggingface.recording import Recording
from mmedge_export.huggingface.token_places import TYPES, first_position, is_causal, token_types

DECODER = "decoder_model_merged"


def causal_step(
    model: nn.Module, recording: Recording, call: DecoderCall | None, inputs: Tensors
) -> CausalStep:
    """One call of the decoder; ProjectError for one that cannot be called with embeddings.

    inputs: the model's, as upstream takes them.
    """
    takes = inspect.signature(type(recording.generator).forward).parameters
    if "inputs_embeds" not in takes:
        raise ProjectError(
            f"{type(recording.generator).__name__}.forward does not take embeddings",
            expected="an argument inputs_embeds",
        )
    decoder = recording.generator if call is None else model.get_submodule(call.path)
    types = token_types(recording, decoder, inputs)
    if types is None and call is not None and not is_causal(call.arguments.get(MASK)):
        raise ProjectError(
            f"{type(model).__name__} decides by itself which tokens see each other",
            found="a mask that is not causal",
            expected="causal attention, or token_type_ids that make the mask",
            hint="this architecture needs a recipe of its own",
        )
    return CausalStep(
        recording.generator,
        "inputs_embeds",
        mask=MASK in takes,
        positions="position_ids" in takes,
        first=first_position(recording),
        types=types,
    )


def generation_of(
    model: nn.Module,
    recording: Recording,
    step: CausalStep,
    call: DecoderCall | None,
    *,
    layers: int,
    max_new_tokens: int | None,
) -> Generation:
    """The loop around the decoder, as `generate` went through it."""
    settings = generation_settings(recording, model, max_new_tokens=max_new_tokens)
    positions = call is not None and has_axes(call.arguments.get("position_ids"))
    return Generation(
        decoder=DECODER,
        token_input=step.token_argument,
        logits_output="logits",
        cache=dict(zip(cache_names(layers), cache_names(layers, stem="present"), strict=True)),
        start_token_ids=(),
        end_token_ids=settings.end_token_ids,
        pad_token_id=settings.pad_token_id,
        max_new_tokens=settings.max_new_tokens,
        prompt=PROMPT,
        prompt_mask=MASK,
        prompt_embeddings=None if call is None else f"{MERGE}.merged_embeds",
        embed=EMBED,
        mask_input=MASK if step.mask else None,
        position_input="position_ids" if step.positions else None,
        prompt_positions=f"{MERGE}.position_ids" if positions else None,
        token_types_input=TYPES if step.types else None,
        prompt_token_types=TYPES if step.types else None,
        new_token_type=step.types.new if step.types else 0,
        rules=settings.rules,
    )
