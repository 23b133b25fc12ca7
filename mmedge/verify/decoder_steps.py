"""The calls a generating decoder gets: the prompt, then token after token.

One graph serves them all, and was traced with one of them: the others are where it may be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mmedge.generation import Generation
from mmedge.recipes import Split

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]


def decoder_steps(split: Split) -> Iterator[dict[str, torch.Tensor]]:
    """The recipe's example of a step; the same without a past, and with one new token."""
    assert split.generation is not None
    generation, example = split.generation, split.decoder_examples
    new = example[generation.token_input].shape[1]
    yield dict(example)
    yield _with(split, past=0, new=new)
    yield _with(split, past=_past(split), new=1)


def _past(split: Split) -> int:
    """How many tokens the example continues."""
    assert split.generation is not None
    places = split.generation.cache_position_input
    if places is not None:
        return int(split.decoder_examples[places][0])
    return max((_length(split, name) for name in split.generation.cache), default=0)


def _with(split: Split, *, past: int, new: int) -> dict[str, torch.Tensor]:
    """The example with the first `past` positions of the cache and `new` tokens.

    A cache of fixed capacity keeps what is behind them, which nothing may read.
    """
    assert split.generation is not None
    generation = split.generation
    made: dict[str, torch.Tensor] = {}
    for name, tensor in split.decoder_examples.items():
        if name in generation.cache and generation.capacity is None:
            made[name] = tensor.narrow(_growing_axis(split, name), 0, past).contiguous()
        else:
            made[name] = _shortened(generation, name, tensor, past=past, new=new)
    return made


def _shortened(
    generation: Generation, name: str, tensor: torch.Tensor, *, past: int, new: int
) -> torch.Tensor:
    if name == generation.token_input:
        return tensor[:, :new].contiguous()
    if name in (generation.mask_input, generation.token_types_input):
        return tensor[:, : past + new].contiguous()
    if name == generation.position_input:
        return tensor[..., :new].contiguous()
    if name == generation.cache_position_input:
        return tensor[:new] - tensor[0] + past
    return tensor


def _length(split: Split, name: str) -> int:
    return split.decoder_examples[name].shape[_growing_axis(split, name)]


def _growing_axis(split: Split, name: str) -> int:
    """The cache axis that is dynamic and not the batch."""
    spec = next(spec for spec in split.decoder_inputs if spec.name == name)
    assert split.generation is not None
    tokens = next(s for s in split.decoder_inputs if s.name == split.generation.token_input)
    return next(i for i, dim in spec.dynamic_axes.items() if dim != tokens.shape[0])
