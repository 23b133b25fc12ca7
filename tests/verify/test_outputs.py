from __future__ import annotations

import numpy as np
import pytest

from mmedge.errors import VerificationError
from mmedge.verify.outputs import check_same_outputs, differences, joined


def test_outputs_are_joined_where_they_have_one_shape() -> None:
    first = {"last": np.zeros((2, 3)), "steps": np.zeros((2, 5, 3))}
    second = {"last": np.ones((1, 3)), "steps": np.ones((1, 7, 3))}
    both = joined([first, second])
    assert isinstance(both["last"], np.ndarray)
    assert both["last"].shape == (3, 3)
    assert [array.shape for array in both["steps"]] == [(5, 3), (5, 3), (7, 3)]


def test_token_rows_of_unequal_length_differ_by_what_is_missing() -> None:
    wanted, found = np.array([[1, 2, 3], [4, 5, 6]]), np.array([[1, 2], [4, 9]])
    made = differences({"tokens": wanted}, {"tokens": found})
    assert made["tokens"].mismatched == 3
    assert differences({"tokens": found}, {"tokens": wanted})["tokens"].mismatched == 3


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ({"other": np.zeros((2, 3), np.float32)}, "other outputs than the model"),
        ({"y": np.zeros((2, 4), np.float32)}, "'y' has another shape"),
    ],
)
def test_outputs_of_another_name_or_shape_are_refused(
    found: dict[str, np.ndarray], problem: str
) -> None:
    with pytest.raises(VerificationError, match=problem):
        check_same_outputs({"y": np.zeros((2, 3), np.float32)}, found)
