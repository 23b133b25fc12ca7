"""Recall@1 against its definition, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.errors import DataError
from mmedge.verify import recall
from mmedge.verify.recall import recall_at_1

EYE = np.eye(3, dtype=np.float32)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([0, 1, 2], 2 / 3),
        (["a cat", "a dog", "a cat"], 1.0),
        (list(np.array([4, 5, 6])), 2 / 3),
        ([np.array([4]), np.array(5), np.array([6])], 2 / 3),
    ],
)
def test_the_nearest_by_cosine_has_the_same_target(targets: list[Any], expected: float) -> None:
    queries = np.array([[1, 0, 0], [0, 5, 0], [0.1, 0, 0]])
    candidates = np.array([[1, 0, 0], [0, 1, 0], [9, 1, 0.5]])  # the last by far the longest
    assert recall_at_1(queries, candidates, targets) == pytest.approx(expected)


@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_it_is_the_share_of_queries_that_find_their_kind(count: int, size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    queries, candidates = generator.normal(size=(2, count, size + 1))
    targets = [0, 1, *generator.integers(0, count, count - 2).tolist()]
    cosines = [
        [float(q @ c) / float(np.linalg.norm(q) * np.linalg.norm(c)) for c in candidates]
        for q in queries
    ]
    found = [
        targets[row.index(max(row))] == target for row, target in zip(cosines, targets, strict=True)
    ]
    assert recall_at_1(queries, candidates, targets) == pytest.approx(sum(found) / count)


def test_more_queries_than_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(20, 8))
    others = np.where(np.arange(20)[:, None] < 5, -vectors, vectors)
    whole = recall_at_1(vectors, others, list(range(20)))
    monkeypatch.setattr(recall, "QUERIES", 3)
    assert recall_at_1(vectors, others, list(range(20))) == whole == 0.75


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_vectors_that_are_all_the_same_find_nothing(value: float) -> None:
    same = np.full((4, 3), value)
    assert recall_at_1(same, same, [0, 1, 2, 3]) == 0


def test_one_vector_of_zeros_costs_one_query() -> None:
    assert recall_at_1(EYE, EYE * np.array([[1], [1], [0]]), [0, 1, 2]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("bad", [0.5, None, [1, 2], np.zeros(2)])
def test_a_target_that_identifies_nothing_is_named(bad: object) -> None:
    with pytest.raises(DataError, match="does not say what an example is about") as caught:
        recall_at_1(EYE, EYE, [0, bad, 2])
    assert "sample 1" in str(caught.value)


def test_a_search_in_which_everything_is_right_measures_nothing() -> None:
    with pytest.raises(DataError, match="nothing else to find"):
        recall_at_1(EYE, EYE, [7, 7, 7])


def test_outputs_that_are_no_vectors_are_refused() -> None:
    with pytest.raises(DataError, match="a query is not a vector"):
        recall_at_1(np.zeros((3, 2, 2)), EYE, [0, 1, 2])
    with pytest.raises(DataError, match="a candidate is not a vector"):
        recall_at_1(EYE, [np.zeros(2), np.zeros(3), np.zeros(2)], [0, 1, 2])
    with pytest.raises(DataError, match="of one size") as caught:
        recall_at_1(EYE, EYE[:, :2], [0, 1, 2])
    assert "queries [3, 3], candidates [3, 2]" in str(caught.value)
