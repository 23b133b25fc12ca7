from __future__ import annotations

import numpy as np
import pytest

from mmedge.tensors import Array
from mmedge.verify.metrics import DifferenceAccumulator
from mmedge.verify.tolerances import problem, tolerance_for


def judged(reference: Array, found: Array, *, tolerance: float = 1e-4) -> str | None:
    accumulator = DifferenceAccumulator()
    accumulator.add(reference, found)
    return problem(accumulator.result(), tolerance, exact=reference.dtype.kind != "f")


def test_within_the_tolerance_is_no_problem() -> None:
    assert judged(np.float32([1, 100]), np.float32([1.009, 100])) is None
    assert "1.10e-04" in str(judged(np.float32([1, 100]), np.float32([1.011, 100])))


def test_nan_is_a_problem_at_any_tolerance() -> None:
    assert "NaN" in str(judged(np.float32([1, 2]), np.float32([1, np.nan]), tolerance=1e9))


def test_integers_have_no_tolerance() -> None:
    assert "1 of 2 integers" in str(judged(np.array([1, 2]), np.array([1, 3]), tolerance=1e9))
    assert judged(np.array([1, 2]), np.array([1, 2])) is None


@pytest.mark.parametrize(("precision", "least"), [("fp32", 1e-4), ("fp16", 1e-3), ("bf16", 1e-2)])
def test_less_precision_may_move_further(precision: str, least: float) -> None:
    assert tolerance_for(precision, fp32=1e-4) >= least
