"""Boxes that nobody found are boxes all the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.data.page_boxes import CORNERS, THOUSANDTHS, page_boxes


@given(count=st.integers(1, 4), length=st.integers(1, 30))
@pytest.mark.parametrize(("dtype", "most"), [("int64", THOUSANDTHS), ("float32", 1)])
def test_they_are_boxes_on_the_page(dtype: str, most: int, count: int, length: int) -> None:
    made = page_boxes(count, length, width=4, dtype=dtype)
    assert (made.shape, made.dtype) == ((count, length, 4), np.dtype(dtype))
    left, top, right, bottom = np.moveaxis(made, -1, 0)
    assert (left < right).all()
    assert (top < bottom).all()
    assert made.min() >= 0
    assert made.max() <= most


def test_corners_are_those_of_the_box() -> None:
    four = page_boxes(1, 5, width=4, dtype="float32")
    eight = page_boxes(1, 5, width=len(CORNERS), dtype="float32").reshape(5, 4, 2)
    np.testing.assert_array_equal(eight.min(1), four[0, :, :2])
    np.testing.assert_array_equal(eight.max(1), four[0, :, 2:])
