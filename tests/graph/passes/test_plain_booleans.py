"""Booleans by operators that every engine has: the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedge.graph.passes import PlainBooleans, run_passes

GRAPHS = {
    "Equal": "(bool[n, 1] x, bool[m] z) => (bool[n, m] y) { y = Equal(x, z) }",
    "Pad": "(bool[n, m] x, bool c) => (bool[n, k] y) <int64[4] p = {0, 1, 0, 2}>"
    " { y = Pad(x, p, c) }",
    "ScatterElements": "(bool[n, 4] x, int64[n, 2] i, bool[n, 2] u) => (bool[n, 4] y)"
    " { y = ScatterElements<axis = 1>(x, i, u) }",
    "ScatterND": "(bool[4, m] x, int64[2, 1] i, bool[2, m] u) => (bool[4, m] y)"
    " { y = ScatterND(x, i, u) }",
}


def feeds(operator: str, rng: np.random.Generator, n: int, m: int) -> dict[str, Any]:
    shapes = {
        "Equal": {"x": (n, 1), "z": (m,)},
        "Pad": {"x": (n, m), "c": ()},
        "ScatterElements": {"x": (n, 4), "u": (n, 2)},
        "ScatterND": {"x": (4, m), "u": (2, m)},
    }[operator]
    arrays: dict[str, Any] = {k: np.asarray(rng.random(s) < 0.5) for k, s in shapes.items()}
    if operator == "ScatterElements":
        arrays["i"] = np.stack([rng.permutation(4)[:2] for _ in range(n)])
    if operator == "ScatterND":
        arrays["i"] = rng.permutation(4)[:2, None]
    return arrays


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(n=st.integers(1, 3), m=st.integers(1, 4), seed=st.integers(0, 999))
@pytest.mark.parametrize("operator", GRAPHS)
def test_the_values_are_the_same_and_no_boolean_is_moved(
    run: Any, operator: str, n: int, m: int, seed: int
) -> None:
    given_arrays = feeds(operator, np.random.default_rng(seed), n, m)
    model, record = run(GRAPHS[operator], PlainBooleans(), given_arrays)
    assert record.what == [f"rewrote booleans of 1 {operator}"]
    moved = [node for node in model.graph if node.op_type == operator]
    assert all(node.inputs[0].producer().op_type == "Cast" for node in moved)
    assert bool(moved) == (operator != "Equal")


@pytest.mark.parametrize(
    "text",
    [
        "(int64[n] x, int64[n] z) => (bool[n] y) { y = Equal(x, z) }",
        "(float[n] x) => (float[k] y) <int64[2] p = {0, 1}> { y = Pad(x, p) }",
    ],
)
def test_numbers_are_left(parse: Any, text: str) -> None:
    _, (record,) = run_passes(parse(text), [PlainBooleans()])
    assert (record.changed, record.what) == (False, [])
