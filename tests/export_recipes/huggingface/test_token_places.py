"""What is learned of positions and token types by looking at `generate`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmedge_export.huggingface.recording import Recording
from mmedge_export.huggingface.token_places import first_position, is_causal
from torch import Tensor, nn

from mmedge.errors import ProjectError

MASK = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
COUNTED = torch.tensor([[0, 0, 0, 1], [0, 1, 2, 3]])


def recorded(**step: Any) -> Recording:
    return Recording(nn.Identity(), torch.zeros(0), steps=[step])


@pytest.mark.parametrize("first", [0, 1, 2])
def test_counting_may_begin_anywhere(first: int) -> None:
    told = recorded(position_ids=COUNTED + first, attention_mask=MASK)
    assert first_position(told) == first


def test_padding_may_have_any_position() -> None:
    assert first_position(recorded(position_ids=COUNTED + 5 * (1 - MASK), attention_mask=MASK)) == 0


def test_without_a_mask_every_token_counts() -> None:
    assert first_position(recorded(position_ids=torch.arange(3)[None] + 1)) == 1


@pytest.mark.parametrize("told", [None, torch.zeros(3, 2, 4, dtype=torch.int64)])
def test_no_positions_or_those_along_axes_are_not_counted(told: Tensor | None) -> None:
    assert first_position(recorded(position_ids=told, attention_mask=MASK)) == 0


def test_other_positions_are_refused() -> None:
    with pytest.raises(ProjectError, match="does not count the tokens"):
        first_position(recorded(position_ids=2 * COUNTED, attention_mask=MASK))


def test_a_mask_is_causal_or_not() -> None:
    causal = torch.ones(2, 1, 4, 4, dtype=torch.bool).tril()
    ahead = causal.clone()
    ahead[1, 0, 0, 2] = True
    assert is_causal(None)
    assert is_causal(MASK)
    assert is_causal(causal)
    assert not is_causal(ahead)
    added = torch.where(ahead, 0.0, torch.finfo(torch.float32).min)
    assert not is_causal(added)
    assert is_causal(torch.where(causal, 0.0, torch.finfo(torch.float32).min))
