"""Which inputs a result depends on: found by changing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from mmedge_export.huggingface.without_checks import without_checks

Inputs = Mapping[str, Tensor]
Results = Sequence[Tensor]


def depends(compute: Callable[[Inputs], Results], inputs: Inputs, name: str) -> bool:
    """Whether the results of `compute` change with the input called `name`."""
    with torch.no_grad(), without_checks():
        base = compute(inputs)
        for changed in _changed(inputs[name]):
            found = compute({**inputs, name: changed})
            if not all(map(torch.equal, base, found)):
                return True
    return False


def _changed(tensor: Tensor) -> Iterator[Tensor]:
    """Other values of the same shape: reordered, where ids have to stay ids; then some replaced."""
    if tensor.is_floating_point():
        yield tensor.flip(-1) + 1
        return
    for axis in range(tensor.ndim):
        yield tensor.flip(axis)
    for place in (0, -1):
        replaced = tensor.clone()
        replaced[..., place] = (tensor[..., place] == 0).to(tensor.dtype)
        yield replaced
