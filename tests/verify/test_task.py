from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmedge.errors import DataError
from mmedge.verify.task import accuracy, evaluate, exact_match

SCORES = np.array([[9.0, 1, 0], [0, 9, 1], [0, 1, 9]])
TOKENS = np.array([[4, 5, 0], [6, 0, 0]])


@pytest.mark.parametrize(
    "targets", [[0, 1, 0], list(np.array([0, 1, 0])), [np.array([0]), np.array([1]), np.array(0)]]
)
def test_accuracy_is_the_share_of_right_classes(targets: list[Any]) -> None:
    assert accuracy(SCORES, targets) == pytest.approx(2 / 3)


@pytest.mark.parametrize("bad", [17, 3, -1, 0.5, 1.0, "cat", [0, 1], None])
def test_a_target_that_is_no_class_is_named(bad: object) -> None:
    with pytest.raises(DataError, match="is not a class") as caught:
        accuracy(SCORES, [0, bad, 1])
    assert repr(bad) in caught.value.what
    assert "sample 1" in str(caught.value)
    assert "0..2" in str(caught.value)


def test_rows_of_unequal_length() -> None:
    assert accuracy([row[: 2 + i] for i, row in enumerate(SCORES[:2])], [0, 1]) == 1
    assert exact_match([TOKENS[0], TOKENS[1][:1]], [[4, 5], [7]]) == 0.5


@pytest.mark.parametrize("bad", [[], [0.5], [6, -100], "word"])
def test_a_target_that_is_no_token_sequence_is_named(bad: object) -> None:
    with pytest.raises(DataError, match="is not a token sequence"):
        exact_match(TOKENS, [[4, 5], bad])


def test_a_class_for_each_step_is_more_than_accuracy_compares() -> None:
    steps = [np.zeros((5, 3)), np.zeros((7, 3))]
    with pytest.raises(DataError, match="2 targets and the outputs steps: 2 arrays of unequal"):
        evaluate(lambda o, t: accuracy(o["steps"], t), {"steps": steps}, [0, 1])
