from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.errors import InputError
from mmedge.tensors import DTYPES, Axis, TensorSpec

IMAGE = TensorSpec("image", "float32", ("batch", 3, "height"))
AXES = {"batch": Axis(1, 2, 4), "height": Axis(8, 8, 16)}


def test_it_reads_as_a_declaration() -> None:
    assert str(IMAGE) == "image: float32[batch, 3, height]"
    assert IMAGE.dynamic_axes == {0: "batch", 2: "height"}


@given(
    batch=st.integers(0, 6),
    channels=st.integers(2, 4),
    height=st.integers(6, 18),
    dtype=st.sampled_from(DTYPES),
)
def test_exactly_what_is_declared_fits(batch: int, channels: int, height: int, dtype: str) -> None:
    array = np.zeros((batch, channels, height), dtype)
    sizes: dict[str, int] = {}
    fits = 1 <= batch <= 4 and channels == 3 and 8 <= height <= 16 and dtype == "float32"
    expected = nullcontext() if fits else pytest.raises(InputError, match="'image'")
    with expected:
        IMAGE.check(array, AXES, sizes)
    assert not fits or sizes == {"batch": batch, "height": height}


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((1, 3), "float32"), "number of dimensions"),
        (np.zeros((1, 3, 8, 1), "float32"), "number of dimensions"),
        (np.zeros((1, 3, 8), "float64"), "wrong dtype"),
        (np.zeros((1, 4, 8), "float32"), "wrong shape"),
        (np.zeros((5, 3, 8), "float32"), "5 along 'batch', outside 1..4"),
        (np.zeros((1, 3, 8), ">f4"), "wrong dtype"),
    ],
)
def test_what_does_not_fit_is_told(array: np.ndarray, problem: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=problem):
        IMAGE.check(array, AXES, {})


def test_a_size_is_a_multiple_of_its_axis_step() -> None:
    patches = TensorSpec("patches", "float32", ("n",))
    axes = {"n": Axis(4, 8, 16, step=4)}
    patches.check(np.zeros(12, "float32"), axes, {})
    with pytest.raises(InputError, match="has 10 along 'n', which is no multiple of 4"):
        patches.check(np.zeros(10, "float32"), axes, {})


def test_one_axis_has_one_size() -> None:
    sizes: dict[str, int] = {}
    IMAGE.check(np.zeros((2, 3, 8), "float32"), AXES, sizes)
    other = TensorSpec("question", "int64", ("batch",))
    other.check(np.zeros(2, "int64"), AXES, sizes)
    with pytest.raises(InputError, match=r"disagrees with another input about axis 'batch' \(2\)"):
        other.check(np.zeros(3, "int64"), AXES, sizes)


def test_an_axis_without_a_range_takes_any_size() -> None:
    TensorSpec("x", "bool", ("n",)).check(np.zeros(0, "bool"), {}, {})
