"""Models that no comparison could judge are refused before any work, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mmedge.errors import ProjectError
from mmedge.graph.repeatable import ROUNDING, check_repeatable
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


def test_sums_in_another_order_are_the_same() -> None:
    """ViLT shuffles its patches: only rounding moves."""
    torch.manual_seed(0)
    values = torch.randn(2, 4096)
    example = {"lidar": values}
    shuffled = split(lambda x: x[:, torch.randperm(4096)].sum(1))
    assert any(
        not torch.equal(*(shuffled.reference(example)["logits"] for _ in range(2)))
        for _ in range(5)
    ), "nothing is rounded here"
    check_repeatable(shuffled, example)


@pytest.mark.parametrize(("noise", "same"), [(ROUNDING / 10, True), (ROUNDING * 10, False)])
def test_noise_is_told_from_rounding_by_the_largest_value(noise: float, same: bool) -> None:
    for scale in (1e-6, 1.0, 1e6):
        signs = iter((1.0, -1.0))

        def forward(x: torch.Tensor, scale: float = scale, signs: Any = signs) -> torch.Tensor:
            return scale * x * (1 + noise / 2 * next(signs))

        if same:
            check_repeatable(split(forward), EXAMPLE)
        else:
            with pytest.raises(ProjectError, match="different outputs"):
                check_repeatable(split(forward), EXAMPLE)


def test_another_shape_is_another_output() -> None:
    sizes = iter((3, 4))
    with pytest.raises(ProjectError, match="different outputs"):
        check_repeatable(split(lambda x: torch.zeros(next(sizes))), EXAMPLE)
