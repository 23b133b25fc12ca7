"""What `generate` tells a decoder about tokens besides what they are: positions and types."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.optional import require
from mmedge_export.huggingface.recording import Recording

TYPES = "token_type_ids"


@dataclass(frozen=True)
class TokenTypes:
    """What a token sees depends on its type: a prefix or an image may look ahead.

    decoder: the module that takes the mask which is made of them.
    new: the type of tokens that are generated.
    """

    decoder: nn.Module
    new: int


def token_types(
    recording: Recording, decoder: nn.Module, example: Mapping[str, Tensor]
) -> TokenTypes | None:
    """How the generator's own mask depends on token types; None if it has none of its own."""
    generator: Any = recording.generator
    makes = getattr(type(generator), "create_masks_for_generate", None)
    if makes is None or TYPES not in example or TYPES not in inspect.signature(makes).parameters:
        return None
    outputs = require("transformers.modeling_outputs").CausalLMOutputWithPast()
    given = {TYPES: example[TYPES], "attention_mask": torch.ones_like(example[TYPES])}
    after = generator._update_model_kwargs_for_generation(outputs, given)[TYPES]
    return TokenTypes(decoder, int(after[0, -1]))


def typed_masks(generator: Any, cache: Any, arguments: Mapping[str, Tensor], types: Tensor) -> Any:
    """The masks that `generate` makes of a padding mask and types of past and new tokens."""
    return type(generator).create_masks_for_generate(
        config=generator.config,
        inputs_embeds=arguments["inputs_embeds"],
        attention_mask=arguments["attention_mask"],
        past_key_values=cache,
        position_ids=arguments.get("position_ids"),
        token_type_ids=types,
    )


def is_causal(mask: Tensor | None) -> bool:
    """Whether a prompt's mask lets no token see a later one; one of padding only does not."""
    if mask is None or mask.ndim != 4:
        return True
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    return not bool(seen.triu(1).any())


def first_position(recording: Recording) -> int:
    """What `generate` counts the tokens of a prompt from; 0 if it tells no positions.

    Raises ProjectError where it does not count them.
    """
    told, mask = (recording.steps[0].get(name) for name in ("position_ids", "attention_mask"))
    if told is None or told.ndim != 2:
        return 0
    seen = torch.ones_like(told) if mask is None else mask
    first = (told - seen.cumsum(1) + 1)[seen != 0].unique()
    if len(first) != 1:
        raise ProjectError(
            f"{type(recording.generator).__name__} does not count the tokens of a prompt",
            found=f"positions {told[0].tolist()}",
            hint="this architecture needs a recipe of its own",
        )
    return int(first)
