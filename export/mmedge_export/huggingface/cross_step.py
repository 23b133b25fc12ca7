"""A decoder with cross-attention: one graph for the prompt and for every token after it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from mmedge_export.huggingface.cache_tensors import cache_tensors, cross_cache, growing_cache
from mmedge_export.huggingface.cross_memory import STATES
from mmedge_export.huggingface.step_arguments import StepArguments


class CrossStep(nn.Module):
    """New tokens, the past and what an encoder made, to the last token's logits and the present.

    Called with the memory (each layer's key and value [batch, heads, memory, head_dim]; or the
    encoder's states [batch, memory, width]), the `extras`, the new ids [batch, new], the mask
    int64 [batch, past + new] and the positions [batch, new] where they are named, then each
    layer's past key and value [batch, heads, past, head_dim]. Returns logits
    [batch, 1, vocabulary] of the last position, then each layer's present.

    layers: how many have a key and a value in the memory; 0 where it is the encoder's states.
    width: of the encoder's states.
    told: the decoder's other arguments.
    """

    def __init__(self, generator: Any, *, layers: int, width: int, told: StepArguments) -> None:
        super().__init__()
        self.model = generator
        self.layers = layers
        self.width = width
        self.told = told
        self.places = tuple(name for name in (told.mask, told.positions) if name is not None)
        self.encodes = bool(generator.config.is_encoder_decoder)
        self.tokens = "decoder_input_ids" if self.encodes else "input_ids"
        # The encoder's states are known only by what the memory holds of them.
        self.unknown = 0.0
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says."""
        count = max(1, 2 * self.layers)
        memory, rest = tensors[:count], list(tensors[count:])
        arguments: dict[str, Any] = dict(self.told.constants)
        encoded = {"last_hidden_state": self._states(memory)}
        for name in (*self.told.extras, self.tokens, *self.places):
            holder, _, entry = name.rpartition(".")
            (encoded if holder else arguments)[entry] = rest.pop(0)
        if "logits_to_keep" in inspect.signature(type(self.model).forward).parameters:
            arguments["logits_to_keep"] = 1
        if self.encodes:
            arguments["encoder_outputs"] = self.told.container(**encoded)
        else:
            arguments[STATES] = encoded["last_hidden_state"]
        cache = cross_cache(rest, memory) if self.layers else growing_cache(rest)
        result = self.model(**arguments, past_key_values=cache, use_cache=True)
        present = result.past_key_values
        own = getattr(present, "self_attention_cache", present)
        return (result.logits[:, -1:], *cache_tensors(own))

    def _states(self, memory: tuple[Tensor, ...]) -> Tensor:
        """The encoder's states, or as many that nothing reads."""
        if not self.layers:
            return memory[0]
        keys = memory[0]
        shape = (keys.shape[0], keys.shape[2], self.width)
        return torch.full(shape, self.unknown, dtype=keys.dtype, device=keys.device)
