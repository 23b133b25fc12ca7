"""Models that no comparison could judge are refused before any work, with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mmedge.errors import ProjectError
from mmedge.graph.repeatable import check_repeatable
from mmedge.recipes import Split

EXAMPLE = {"lidar": torch.ones(2, 4)}


def split(forward: Callable[[torch.Tensor], torch.Tensor]) -> Split:
    return Split((), {}, lambda inputs: {"logits": forward(inputs["lidar"])})


def test_random_numbers_are_named() -> None:
    with pytest.raises(ProjectError, match="different outputs for the same inputs: 'logits'"):
        check_repeatable(split(lambda x: x + torch.randn_like(x)), EXAMPLE)


def test_state_that_is_kept_is_found() -> None:
    calls: list[int] = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x * len(calls)

    with pytest.raises(ProjectError, match="different outputs"):
        check_repeatable(split(forward), EXAMPLE)


def test_an_input_changed_in_place_is_named_and_the_example_is_whole() -> None:
    with pytest.raises(ProjectError, match="changes its input 'lidar' in place"):
        check_repeatable(split(lambda x: x.mul_(2)), EXAMPLE)
    assert torch.equal(EXAMPLE["lidar"], torch.ones(2, 4))


def test_a_model_that_gives_nan_is_repeatable() -> None:
    check_repeatable(split(lambda x: x / 0 * 0), EXAMPLE)


def test_integers_and_booleans_are_compared() -> None:
    check_repeatable(split(lambda x: x.argmax(-1)), EXAMPLE)
    check_repeatable(split(lambda x: x > 0), EXAMPLE)
