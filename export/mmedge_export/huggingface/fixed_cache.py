"""A decoder whose cache has room for a fixed number of tokens, of one whose cache grows.

Past and present of a fixed cache are one buffer, bound once: a step writes the entries of its own
tokens and copies nothing else from call to call. The tokens that are there are told by the length
of the mask, so that attention reads them and not the room behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.optional import require
from mmedge.recipes import ComponentModule, Split
from mmedge.tensors import TensorSpec
from mmedge_export.huggingface.causal_step import CausalStep

PLACES = "cache_position"
# Along which a cache tensor [batch, heads, length, head_dim] is written.
LENGTH = 2


class FixedLayer:
    """One layer of a transformers cache (5.23): what attention and masks ask of it.

    places: int64 [new]: where the new tokens' entries are written.
    total: how many entries there are, with the new ones.
    """

    is_sliding, is_compileable, supports_early_init = False, False, False

    def __init__(self, keys: Tensor, values: Tensor, *, places: Tensor, total: int) -> None:
        self.keys, self.values, self.is_initialized = keys, values, True
        self.dtype, self.device = keys.dtype, keys.device
        self._places, self._total = places, total

    def lazy_initialization(self, *_: Any) -> None:
        """Nothing is left to do."""

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """The keys and values there are, with these written among them."""
        self.keys = written(self.keys, keys, self._places)
        self.values = written(self.values, values, self._places)
        return self.keys[:, :, : self._total], self.values[:, :, : self._total]

    def get_seq_length(self) -> int:
        """How many tokens came before the new ones."""
        return self._total - self._places.shape[0]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys."""
        return self._total, 0

    def get_max_length(self) -> int:
        """How many tokens there is room for."""
        return self.keys.shape[LENGTH]


def written(past: Tensor, new: Tensor, places: Tensor) -> Tensor:
    """`past` with `new` at `places`.

    Every leading axis is indexed, which ONNX has as one ScatterND without transposition; ONNX
    Runtime runs that in place where input and output are one buffer.
    """
    rows = torch.arange(past.shape[0], device=past.device)[:, None, None]
    heads = torch.arange(past.shape[1], device=past.device)[None, :, None]
    return past.index_put((rows, heads, places[None, None, :]), new)


class FixedStep(nn.Module):
    """A CausalStep whose past is of fixed capacity.

    Called as the step is, with the places of the new tokens, int64 [new], before the cache.

    mask: which argument is the mask.
    others: how many arguments come before the places.
    """

    def __init__(self, step: CausalStep, *, mask: int, others: int) -> None:
        super().__init__()
        self.step = step
        self.mask = mask
        self.others = others
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says."""
        others, (places, *past) = tensors[: self.others], tensors[self.others :]
        grows = self.step.make_cache
        total = others[self.mask].shape[1]
        self.step.make_cache = partial(fixed_cache, places=places, total=total)
        try:
            result: tuple[Tensor, ...] = self.step(*others, *past)
        finally:
            self.step.make_cache = grows
        return result


def fixed_cache(tensors: Sequence[Tensor], *, places: Tensor, total: int) -> Any:
    """A transformers cache that writes into copies of `tensors`: each layer's key and value."""
    cache_utils = require("transformers.cache_utils")
    layer = type("FixedCacheLayer", (FixedLayer, cache_utils.CacheLayerMixin), {})
    pairs = zip(tensors[::2], tensors[1::2], strict=True)
    layers = [layer(key, value, places=places, total=total) for key, value in pairs]
    return cache_utils.Cache(layers=layers)


def with_capacity(split: Split, capacity: int) -> Split:
    """The same model, its decoder's cache with room for `capacity` tokens."""
    generation = split.generation
    assert generation is not None
    decoder = split.component(generation.decoder)
    if not isinstance(decoder.module, CausalStep) or generation.mask_input is None:
        raise ProjectError(
            f"the cache of {decoder.name!r} cannot have a fixed capacity",
            found=f"capacity = {capacity}",
            expected="a causal decoder that takes a mask",
            where="[recipe]",
        )
    past = split.decoder_examples[next(iter(generation.cache))].shape[LENGTH]
    new = split.decoder_examples[generation.token_input].shape[1]
    if capacity < past + new:
        raise ProjectError(
            "the cache has no room for the example that the model is exported with",
            found=f"capacity = {capacity}",
            expected=f"at least {past + new}",
            where="[recipe]",
        )
    return replace(
        split,
        components=tuple(
            _fixed(part, split) if part is decoder else part for part in split.components
        ),
        generation=msgspec.structs.replace(
            generation, capacity=capacity, cache_position_input=PLACES
        ),
        decoder_inputs=_specs(split, capacity),
        decoder_examples=_examples(split, capacity, places=torch.arange(past, past + new)),
    )


def _fixed(decoder: ComponentModule, split: Split) -> ComponentModule:
    assert split.generation is not None
    names = [spec.name for spec in split.decoder_inputs if spec.name not in split.generation.cache]
    module = FixedStep(
        decoder.module,  # type: ignore[arg-type]
        mask=names.index(str(split.generation.mask_input)),
        others=len(names),
    )
    return replace(decoder, module=module, prefix=f"step.{decoder.prefix}")


def _specs(split: Split, capacity: int) -> tuple[TensorSpec, ...]:
    assert split.generation is not None
    cache = split.generation.cache
    others = [spec for spec in split.decoder_inputs if spec.name not in cache]
    tokens = next(spec for spec in others if spec.name == split.generation.token_input)
    fixed = [
        TensorSpec(spec.name, spec.dtype, (*spec.shape[:LENGTH], capacity, *spec.shape[3:]))
        for spec in split.decoder_inputs
        if spec.name in cache
    ]
    return (*others, TensorSpec(PLACES, "int64", (tokens.shape[1],)), *fixed)


def _examples(split: Split, capacity: int, *, places: Tensor) -> dict[str, Tensor]:
    assert split.generation is not None
    cache, examples = split.generation.cache, split.decoder_examples
    made = {name: tensor for name, tensor in examples.items() if name not in cache}
    made[PLACES] = places
    for name in cache:
        past = examples[name]
        room = (0, 0, 0, capacity - past.shape[LENGTH])
        made[name] = nn.functional.pad(past, room).contiguous()
    return made
