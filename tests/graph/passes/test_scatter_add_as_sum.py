"""Sums where an engine cannot add by writing: the same values, with no scatter left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedge.graph.passes import ScatterAddAsSum, run_passes

TEXT = """({type}[{data}] x, int64[{places}] i, {type}[{places}] u) => ({type}[{data}] y)
    {{ y = ScatterElements<axis = {axis}, reduction = "{reduction}">(x, i, u) }}"""


def graph(
    data: str = "n",
    places: str = "m",
    *,
    axis: int = 0,
    dtype: str = "float",
    reduction: str = "add",
) -> str:
    return TEXT.format(type=dtype, data=data, places=places, axis=axis, reduction=reduction)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    layout=st.sampled_from(
        [("n", "m", 0), ("n, k", "m, k", 0), ("k, n", "k, m", 1), ("b, n, k", "b, m, k", -2)]
    ),
    dtype=st.sampled_from(["float", "int64", "int32", "double"]),
    sizes=st.tuples(st.integers(1, 6), st.integers(0, 7), st.integers(1, 3), st.integers(1, 2)),
    seed=st.integers(0, 2**16),
)
def test_the_sums_are_those_of_the_scatter(
    run: Any, ops: Any, layout: tuple[str, str, int], dtype: str, sizes: Any, seed: int
) -> None:
    data, places, axis = layout
    n, m, k, b = sizes
    shape = [{"m": m, "k": k, "b": b}[name] for name in places.split(", ")]
    rng = np.random.default_rng(seed)
    model, record = run(
        graph(data, places, axis=axis, dtype=dtype),
        ScatterAddAsSum(),
        {"i": rng.integers(-n, n, shape)},
        n=n,
        m=m,
        k=k,
        b=b,
    )
    assert record.what == ["summed 1 ScatterElements"]
    assert "ScatterElements" not in ops(model)


def test_integers_that_no_float32_holds_stay_exact(run: Any) -> None:
    # ONNX Runtime's ReduceSum itself rounds int64 above 2**53 (seen in 1.31, CPU).
    feeds = {
        "x": np.array([2**50, 1, 0]),
        "i": np.array([0, 0, -1]),
        "u": np.array([1, 2**49, 2**51 + 1]),
    }
    _, record = run(graph(dtype="int64"), ScatterAddAsSum(), feeds)
    assert record.max_abs_difference == 0.0


def test_infinities_stay_where_they_are_written(run: Any) -> None:
    feeds = {
        "x": np.zeros(3, "float32"),
        "i": np.array([0, 2]),
        "u": np.array([np.inf, 1], "float32"),
    }
    run(graph(), ScatterAddAsSum(), feeds)


LEFT = {
    "another reduction": graph(reduction="max"),
    "no reduction": graph(reduction="none"),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_added_is_left(name: str, parse: Any) -> None:
    _, (record,) = run_passes(parse(LEFT[name]), [ScatterAddAsSum()])
    assert (record.changed, record.what) == (False, [])


def test_fewer_places_than_data_on_another_axis_are_left_with_the_reason(parse: Any) -> None:
    _, (record,) = run_passes(parse(graph("n, k", "m, j")), [ScatterAddAsSum()])
    assert not record.changed
    assert record.what == ["left 1 ScatterElements: its sizes are not known"]
