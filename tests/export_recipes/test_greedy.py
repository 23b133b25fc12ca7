"""Where greedy generation stops, and what it pads."""

from __future__ import annotations

import torch
from mmedge_export.greedy import greedy
from torch import Tensor
from torch.nn import functional as F

from mmedge.generation import COMPARED_TOKENS
from mmedge.wiring import Generation

END, PAD = 9, 0


def says(*rows: tuple[int, ...], max_new_tokens: int = 8, start: tuple[int, ...] = (1,)) -> Tensor:
    """What `greedy` makes of a model that would say `rows`, whatever it has said before."""
    generation = Generation(
        decoder="decoder",
        token_input="tokens",
        logits_output="logits",
        cache={},
        start_token_ids=start,
        end_token_ids=(END, END - 1),
        pad_token_id=PAD,
        max_new_tokens=max_new_tokens,
    )
    script = torch.tensor(rows)

    def step(tokens: Tensor) -> Tensor:
        assert tokens[:, : len(start)].tolist() == [list(start)] * len(rows)
        following = script[:, tokens.shape[1] - len(start)]
        return F.one_hot(following, 10)[:, None].float().expand(-1, tokens.shape[1], -1)

    return greedy(step, generation, batch=len(rows))


def test_it_stops_when_every_sequence_has_ended() -> None:
    assert says((2, 3, END, 4, 4)).tolist() == [[2, 3, END]]


def test_what_follows_an_end_is_padding() -> None:
    expected = [[2, END, PAD, PAD], [2, 3, 4, END]]
    assert says((2, END, 5, 6, 7), (2, 3, 4, END, 5)).tolist() == expected


def test_any_of_the_end_tokens_ends() -> None:
    assert says((2, END - 1, 5)).tolist() == [[2, END - 1]]


def test_it_stops_at_the_limit() -> None:
    assert says((2, 3, 4, 5), max_new_tokens=2).tolist() == [[2, 3]]


def test_start_tokens_are_not_part_of_the_answer() -> None:
    assert says((2, END), start=(1, 7, 5)).tolist() == [[2, END]]


def test_tokens_are_int64() -> None:
    assert says((2, END)).dtype == torch.int64


def test_an_endless_answer_is_compared_up_to_a_limit() -> None:
    rambling = (2,) * (2 * COMPARED_TOKENS)
    assert says(rambling, max_new_tokens=len(rambling)).shape == (1, COMPARED_TOKENS)
