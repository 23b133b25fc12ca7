"""The distribution is that of transformers' warpers, and the draws follow it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from transformers.generation import logits_process as upstream

from mmedge.errors import InputError
from mmedge.runtime.sampling import Sampling, draw, probabilities, warped
from mmedge.tensors import Array

SCORES = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).normal(size=(3, 17)).astype(np.float32) * 2
)


def masked(scores: Array) -> Array:
    """Some tokens forbidden, as the rules leave them."""
    scores = scores.copy()
    scores[:, ::4] = -np.inf
    return scores


def by_transformers(scores: Array, sampling: Sampling) -> Array:
    warpers: list[Any] = []
    if sampling.temperature != 1:
        warpers.append(upstream.TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k is not None:
        warpers.append(upstream.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(upstream.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0:
        warpers.append(upstream.MinPLogitsWarper(sampling.min_p))
    warped_scores = upstream.LogitsProcessorList(warpers)(None, torch.tensor(scores))
    result: Array = warped_scores.numpy()
    return result


@given(
    scores=SCORES.flatmap(lambda scores: st.sampled_from([scores, masked(scores)])),
    temperature=st.floats(0.1, 3),
    top_k=st.none() | st.integers(1, 20),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
)
def test_the_scores_are_those_of_transformers(
    scores: Array, temperature: float, top_k: int | None, top_p: float, min_p: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    wanted = by_transformers(scores, sampling)
    np.testing.assert_allclose(warped(scores, sampling), wanted, rtol=1e-5)


def test_equal_logits_stay_or_go_together_in_top_k() -> None:
    scores = np.float32([[1, 3, 2, 2, 2, 0]])
    kept = np.isfinite(warped(scores, Sampling(top_k=2)))
    np.testing.assert_array_equal(kept, [[False, True, True, True, True, False]])


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.5),
        Sampling(temperature=2, top_k=4),
        Sampling(top_p=0.8),
        Sampling(min_p=0.1),
    ],
)
def test_samples_follow_the_distribution(sampling: Sampling) -> None:
    draws = 20_000
    row = np.float32([0.1, 2.0, -1.0, 0.5, 1.4, -np.inf, 0.0])
    scores = warped(np.tile(row, (draws, 1)), sampling)
    counts = np.bincount(draw(scores, np.random.default_rng(7)), minlength=len(row))
    expected = probabilities(scores[:1])[0] * draws
    possible = expected > 0
    assert not counts[~possible].any()
    assert possible.sum() > 1
    assert stats.chisquare(counts[possible], expected[possible]).pvalue > 1e-3


class Extremes(np.random.Generator):
    """Random numbers at the ends of their range."""

    def __init__(self, number: float) -> None:
        super().__init__(np.random.PCG64())
        self.number = number

    def random(self, size: Any = None, **_: Any) -> Any:
        return np.full(size, self.number)


@pytest.mark.parametrize("number", [0.0, np.nextafter(1.0, 0.0)])
@given(scores=SCORES.map(masked))
def test_what_is_left_out_is_never_drawn(number: float, scores: Array) -> None:
    found = draw(scores, Extremes(number))
    assert np.isfinite(np.take_along_axis(scores, found[:, None], axis=1)).all()


def test_one_token_left_is_that_token() -> None:
    scores = np.full((2, 5), -np.inf, np.float32)
    scores[[0, 1], [3, 0]] = -7
    assert draw(scores, np.random.default_rng()).tolist() == [3, 0]
    assert draw(warped(scores, Sampling(top_p=0.1)), np.random.default_rng()).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"temperature": 0}, "leave the sampling out"),
        ({"temperature": -0.5}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.01}, "top_p"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_p": float("nan")}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": 2}, "min_p"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": -3}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_settings_without_a_meaning_are_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Sampling(**fields)


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Sampling().temperature = 2.0  # type: ignore[misc]
