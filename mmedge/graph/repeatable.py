"""A model that can be compiled gives the same outputs for the same inputs, and keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmedge.errors import ProjectError
from mmedge.recipes import Split, Tensors

if TYPE_CHECKING:
    import torch


# Far above what the order of a sum changes in float32, far below what dropout does.
ROUNDING = 1e-5


def check_repeatable(split: Split, example: Tensors) -> None:
    """Run the user's model twice on copies of `example`.

    Raises ProjectError where it changes an input in place, or where the second run differs from
    the first by more than rounding: every comparison with it would be meaningless. (ViLT shuffles
    its patches, which only reorders sums.)
    """
    first = _run(split, example)
    second = _run(split, example)
    for name, tensor in first.items():
        if not _same(tensor, second[name]):
            raise ProjectError(
                f"forward gives different outputs for the same inputs: {name!r}",
                found="two runs in a row differ",
                expected=f"the same values, to {ROUNDING:g} of the largest",
                hint="look for dropout that is always on, random numbers, or values that forward "
                "keeps on self from one call to the next",
            )


def _run(split: Split, example: Tensors) -> dict[str, torch.Tensor]:
    given = {name: tensor.clone() for name, tensor in example.items()}
    produced = split.reference(given)
    for name, tensor in example.items():
        if not _identical(tensor, given[name]):
            raise ProjectError(
                f"forward changes its input {name!r} in place",
                hint=f"work on a copy, such as {name} = {name} * 2 instead of {name} *= 2",
            )
    return {name: tensor.clone() for name, tensor in produced.items()}


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal but for the rounding of reordered sums."""
    if first.shape != second.shape or not first.is_floating_point():
        return _identical(first, second)
    import torch

    largest = float(first.nan_to_num(0, 0, 0).abs().max()) if first.numel() else 0.0
    return torch.allclose(first, second, rtol=0.0, atol=ROUNDING * largest, equal_nan=True)


def _identical(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal in shape and every value; NaN equals NaN."""
    import torch

    same = first.shape == second.shape
    return same and torch.allclose(first, second, rtol=0.0, atol=0.0, equal_nan=True)
