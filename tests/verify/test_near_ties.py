"""Tokens may part from the model's where its own scores nearly tie, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmedge.errors import VerificationError
from mmedge.generation import Generation
from mmedge.recipes import ComponentModule, Split
from mmedge.tensors import Array, Axis, TensorSpec
from mmedge.verify.model_scores import FAR, model_scores
from mmedge.verify.near_ties import accepted, near_ties, partings
from mmedge.wiring import ComponentSpec, ModelInput, Wiring

END = 9
TOLERANCE = 0.02
# The best, the rival and its distance, after each token.
NEXT = {0: (1, 5, 0.5), 1: (2, 6, 0.01), 2: (3, 7, 0.5), 3: (END, 4, 0.5)}
ANSWER = [1, 2, 3, END]


class Chain(torch.nn.Module):
    """The next token follows from the last; scores are at most 10."""

    def __init__(self) -> None:
        super().__init__()
        table = torch.zeros(10, 10)
        for token, (best, rival, gap) in NEXT.items():
            table[token, best] = 10
            table[token, rival] = 10 * (1 - gap)
        self.table = torch.nn.Parameter(table)

    def forward(
        self, x: torch.Tensor, tokens: torch.Tensor, past: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        present = torch.cat([past, tokens[:, :, None].float()], 1)
        return self.table[tokens] + 0 * x[:, :, None], present


GENERATION = Generation(
    decoder="decoder",
    token_input="tokens",
    logits_output="logits",
    cache={"past": "present"},
    start_token_ids=(0,),
    end_token_ids=(END,),
    pad_token_id=8,
    max_new_tokens=6,
)
X = TensorSpec("x", "float32", ("batch", 1))
TOKENS = TensorSpec("tokens", "int64", ("batch", "new"))
PAST = TensorSpec("past", "float32", ("batch", "past", 1))
DECODER = ComponentSpec(
    "decoder",
    "text",
    (X, TOKENS, PAST),
    (
        TensorSpec("logits", "float32", ("batch", "new", 10)),
        TensorSpec("present", "float32", ("batch", "past + new", 1)),
    ),
    {"x": "x"},
)
WIRING = Wiring(
    inputs=(ModelInput(X, "tensor"),),
    components=(DECODER,),
    outputs={"tokens": GENERATION.tokens},
    axes={"batch": Axis(1, 1, 8)},
    generation=GENERATION,
)
SPLIT = Split(
    components=(ComponentModule("decoder", Chain(), {"x": "x"}, ("logits", "present"), "text"),),
    outputs=WIRING.outputs,
    reference=lambda inputs: {},
    generation=GENERATION,
    decoder_inputs=(TOKENS, PAST),
)


def inputs(count: int) -> dict[str, Array]:
    return {"x": np.zeros((count, 1), np.float32)}


def judged(*rows: list[int]) -> list[tuple[int, int, int, int]]:
    """How a batch of answers is judged, against the model's own."""
    wanted = np.array([ANSWER] * len(rows))
    examples = list(range(100, 100 + len(rows)))
    found = near_ties(
        SPLIT,
        WIRING,
        inputs(len(rows)),
        wanted,
        np.array(rows),
        tolerance=TOLERANCE,
        examples=examples,
    )
    return [(tie.example, tie.position, tie.wanted, tie.found) for tie in found]


def test_the_models_own_answer_and_how_sure_it_was() -> None:
    scores = model_scores(SPLIT, WIRING, inputs(2), rivals=np.array([[5, 6], [1, 0]]))
    assert scores.tokens.tolist() == [ANSWER] * 2
    assert scores.margins == pytest.approx(np.array([[0.5, 0.01, 0.5, 0.5]] * 2), abs=1e-6)
    assert scores.gaps[0] == pytest.approx(np.array([0.5, 0.01, FAR, FAR]), abs=1e-6)
    assert scores.gaps[1] == pytest.approx(np.array([0, 1, FAR, FAR]), abs=1e-6)


def test_equal_answers_are_no_ties() -> None:
    assert judged(ANSWER, ANSWER) == []


def test_a_near_tie_excuses_all_that_follows() -> None:
    assert judged(ANSWER, [1, 6, 0, 0]) == [(101, 1, 2, 6)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([5, 2, 3, END], "token 5 for 1 at position 0 of sample 100"),
        ([1, 2, 7, END], "token 7 for 3 at position 2"),
        ([1, 4, 3, END], "token 4 for 2 at position 1"),  # a tie there was, with another token
        ([1, 2], "token -1 for 3 at position 2"),  # it stopped too early
        ([1, 2, 3, 4, 4], "token 4 for 9 at position 3"),  # it went on
    ],
)
def test_another_token_is_refused_with_its_place(row: list[int], said: str) -> None:
    with pytest.raises(VerificationError, match=said):
        judged(row)


def test_an_answer_that_is_not_the_models_own_excuses_nothing() -> None:
    """Scores belong to the tokens before them."""
    wanted, found = np.array([[5, 2]]), np.array([[5, 6]])
    with pytest.raises(VerificationError, match="token 6 for 2"):
        near_ties(SPLIT, WIRING, inputs(1), wanted, found, tolerance=TOLERANCE, examples=[0])


def test_padding_behind_the_end_is_no_token() -> None:
    assert list(partings(np.array([[1, END, 8, 8]]), np.array([[1, END]]), (END,))) == []
    assert list(partings(np.array([[1, END]]), np.array([[1, END, 8, 8]]), (END,))) == []


@given(margin=st.floats(0, 1, width=32), position=st.integers(0, 3))
def test_on_the_device_the_models_margins_decide(margin: float, position: int) -> None:
    wanted = np.array([[1, 2, 3, 4]])
    found = wanted.copy()
    found[0, position] = 0
    margins = np.full((1, 4), 1.0, np.float32)
    margins[0, position] = margin
    taken = accepted(wanted, found, margins, TOLERANCE, ends=(END,))
    assert taken == (np.float32(margin) <= TOLERANCE)
    assert not accepted(wanted, found, margins[:, :0], TOLERANCE, ends=(END,))
