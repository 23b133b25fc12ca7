from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mmedge.tensors import Array
from mmedge.verify.metrics import Difference, DifferenceAccumulator, DifferencesByOutput

SHAPES = array_shapes(min_dims=0, max_dims=3, max_side=5)
ordinary = st.floats(-1e6, 1e6, width=32)
any_float = st.floats(width=32)


def difference(*pairs: tuple[Array, Array]) -> Difference:
    accumulator = DifferenceAccumulator()
    for reference, found in pairs:
        accumulator.add(reference, found)
    return accumulator.result()


@given(arrays(np.float32, SHAPES, elements=any_float))
def test_the_same_is_no_difference_even_of_nan(values: Array) -> None:
    found = difference((values, values.copy()))
    assert found.count == values.size
    assert (found.max_abs, found.relative, found.mismatched, found.not_finite) == (0, 0, 0, 0)
    assert found.sqnr_db is None
    assert found.cosine is None or found.cosine == pytest.approx(1)


@given(arrays(np.int64, SHAPES, elements=st.integers(-5, 5)), st.data())
def test_integers_are_counted_where_they_differ(values: Array, data: st.DataObject) -> None:
    other = data.draw(arrays(np.int64, values.shape, elements=st.integers(-5, 5)))
    assert difference((values, other)).mismatched == int((values != other).sum())


@given(
    arrays(np.float32, (4, 3), elements=ordinary),
    arrays(np.float32, (4, 3), elements=ordinary),
    st.integers(-20, 20),
)
def test_relative_numbers_do_not_depend_on_the_scale(a: Array, b: Array, power: int) -> None:
    scale = np.float64(2.0**power)
    wide, other = a.astype(np.float64), b.astype(np.float64)
    one, scaled = difference((wide, other)), difference((wide * scale, other * scale))
    assert scaled.max_abs == pytest.approx(one.max_abs * scale)
    assert scaled.relative == pytest.approx(one.relative)
    for before, after in ((one.cosine, scaled.cosine), (one.sqnr_db, scaled.sqnr_db)):
        assert (before is None) == (after is None)
        assert before is None or after == pytest.approx(before, abs=1e-6)


@given(
    arrays(np.float32, (6, 2), elements=ordinary),
    arrays(np.float32, (6, 2), elements=ordinary),
    st.integers(0, 6),
)
def test_batches_add_up_to_the_whole(a: Array, b: Array, cut: int) -> None:
    whole = difference((a, b))
    parts = difference((a[:cut], b[:cut]), (a[cut:], b[cut:]))
    assert parts.count == whole.count
    assert parts.max_abs == whole.max_abs
    assert parts.relative == whole.relative
    assert parts.cosine == (whole.cosine if whole.cosine is None else pytest.approx(whole.cosine))


@pytest.mark.parametrize(
    ("reference", "found", "bad"),
    [
        ([1, 2], [1, np.nan], 1),
        ([1, np.nan], [1, 2], 1),
        ([1, np.inf], [1, -np.inf], 1),
        ([np.nan, np.inf], [np.inf, np.nan], 2),
        ([np.inf, 1], [np.inf, 1], 0),
        ([np.nan, 1], [np.nan, 1], 0),
    ],
)
def test_what_became_nan_or_infinite_is_counted(
    reference: list[float], found: list[float], bad: int
) -> None:
    result = difference((np.float32(reference), np.float32(found)))
    assert result.not_finite == bad
    assert math.isfinite(result.max_abs)
    assert math.isfinite(result.relative)


def test_known_values() -> None:
    found = difference((np.float32([3, -4]), np.float32([3, -2])))
    assert found.max_abs == 2
    assert found.relative == 0.5
    assert found.cosine == pytest.approx(17 / (5 * math.sqrt(13)))
    assert found.sqnr_db == pytest.approx(10 * math.log10(25 / 4))


def test_something_where_nothing_was_is_all_wrong() -> None:
    found = difference((np.zeros(3, np.float32), np.float32([0, 1e-30, 0])))
    assert found.relative == 1
    assert found.cosine is None
    assert difference((np.zeros(3), np.zeros(3))).relative == 0


def test_nothing_compared_is_nothing_wrong_and_says_so() -> None:
    found = difference((np.zeros((0, 4)), np.zeros((0, 4))))
    assert found.count == 0
    assert found.relative == 0


def test_booleans_and_unsigned_integers() -> None:
    assert difference((np.array([True, False]), np.array([True, True]))).mismatched == 1
    found = difference((np.uint8([0, 255]), np.uint8([1, 255])))
    assert (found.mismatched, found.max_abs) == (1, 1)


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 2)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        difference((np.zeros(2), np.zeros(shape)))


def test_each_output_has_an_accumulator_of_its_own() -> None:
    made = DifferencesByOutput()
    for step in range(3):
        made.add("near", np.ones(2), np.ones(2))
        made.add("far", np.ones(4), np.ones(4) + step)
    found = made.result()
    assert {name: (d.count, d.max_abs) for name, d in found.items()} == {
        "near": (6, 0.0),
        "far": (12, 2.0),
    }
