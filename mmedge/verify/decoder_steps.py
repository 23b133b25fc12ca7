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
    past = max((_length(split, name) for name in generation.cache), default=0)
    new = example[generation.token_input].shape[1]
    yield dict(example)
    if generation.capacity is None:
        yield _with(split, past=0, new=new)
        yield _with(split, past=past, new=1)


def _with(split: Split, *, past: int, new: int) -> dict[str, torch.Tensor]:
    """The example with the first `past` positions of the cache and `new` tokens."""
    assert split.generation is not None
    generation = split.generation
    made: dict[str, torch.Tensor] = {}
    for name, tensor in split.decoder_examples.items():
        if name in generation.cache:
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
    return tensor


def _length(split: Split, name: str) -> int:
    return split.decoder_examples[name].shape[_growing_axis(split, name)]


def _growing_axis(split: Split, name: str) -> int:
    """The cache axis that is dynamic and not the batch."""
    spec = next(spec for spec in split.decoder_inputs if spec.name == name)
    assert split.generation is not None
    tokens = next(s for s in split.decoder_inputs if s.name == split.generation.token_input)
    return next(i for i, dim in spec.dynamic_axes.items() if dim != tokens.shape[0])
