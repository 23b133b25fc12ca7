"""A transformers cache as flat tensors, and back.

Names follow the ecosystem's (Optimum, transformers.js): `past_key_values.0.key` goes in,
`present.0.key` comes out; an encoder-decoder cache has `past_key_values.0.decoder.key` and
`past_key_values.0.encoder.key`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmedge.errors import ProjectError
from mmedge.optional import require


def cache_names(layers: int, *, side: str = "", stem: str = "past_key_values") -> list[str]:
    """Names of the keys and values of all layers; side: "decoder", "encoder" or none."""
    middle = f".{side}" if side else ""
    return [f"{stem}.{i}{middle}.{part}" for i in range(layers) for part in ("key", "value")]


def cache_tensors(cache: Any) -> list[Tensor]:
    """Key and value [batch, heads, length, head_dim] of every layer, in order."""
    found: list[Tensor] = []
    for number, layer in enumerate(cache.layers):
        if not layer.is_initialized:  # counted by a config that is not about this decoder
            continue
        pair: list[Any] = [getattr(layer, name, None) for name in ("keys", "values")]
        if not all(isinstance(part, Tensor) and part.ndim == 4 for part in pair):
            raise ProjectError(
                "the decoder's cache is not made of keys and values",
                found=f"layer {number} is a {type(layer).__name__}",
                expected="attention layers: state-space and linear-attention layers are not "
                "supported yet",
            )
        found += pair
    return found


def growing_cache(tensors: Sequence[Tensor]) -> Any:
    """A DynamicCache that holds `tensors`: each layer's key and value.

    Every layer keeps all positions; a sliding window is the business of the attention mask.
    """
    cache_utils = require("transformers.cache_utils")
    cache = cache_utils.DynamicCache()
    for key, value in zip(tensors[::2], tensors[1::2], strict=True):
        layer = cache_utils.DynamicLayer()
        layer.keys, layer.values = key, value
        layer.dtype, layer.device, layer.is_initialized = key.dtype, key.device, True
        cache.layers.append(layer)
    return cache


def cross_cache(tensors: Sequence[Tensor], memory: Sequence[Tensor]) -> Any:
    """An EncoderDecoderCache whose cross-attention is known: `memory` is never computed again."""
    cache_utils = require("transformers.cache_utils")
    cache = cache_utils.EncoderDecoderCache(growing_cache(tensors), growing_cache(memory))
    cache.is_updated = dict.fromkeys(range(len(memory) // 2), True)
    return cache


def empty_cache(layers: int, like: torch.nn.Module) -> Any:
    """An EncoderDecoderCache before the first token."""
    cache_utils = require("transformers.cache_utils")
    return cache_utils.EncoderDecoderCache(cache_utils.DynamicCache(), cache_utils.DynamicCache())
