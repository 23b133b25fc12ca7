"""Ranges are those of the values themselves, on every run and of every graph size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_ir.passes.common import ShapeInferencePass

from mmedge.errors import GraphError
from mmedge.graph import files
from mmedge.graph.files import save_graph
from mmedge.graph.precision import ranges
from mmedge.graph.precision.ranges import measure_ranges

TEXT = """<ir_version: 10, opset_import: ["": 23]>
g (float[N,2] x, int64[N] i) => (float[N,2] y) <float[2,2] w = {1,2,3,4}>
{ a = MatMul(x, w) b = Mul(a, a) c = Cast<to = 1>(i) y = Sub(b, a) }"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = ir.from_onnx_text(TEXT)
    ShapeInferencePass()(model)
    path = tmp_path_factory.mktemp("ranges") / "g.onnx"
    save_graph(model, path)
    return path


rows = st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=2), max_size=4)


@given(batches=st.lists(rows, min_size=1, max_size=3), at_once=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_every_value_is_seen_over_all_runs(
    graph: Path, batches: list[list[list[float]]], at_once: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "VALUES_AT_ONCE", at_once)
        given_ = [np.array(batch, np.float32).reshape(-1, 2) for batch in batches]
        feeds = [{"x": x, "i": np.arange(len(x), dtype=np.int64)} for x in given_]
        seen = measure_ranges(graph, feeds)
    assert seen.keys() == {"x", "a", "b", "c", "y"}
    weight = np.float32([[1, 2], [3, 4]])
    products = np.concatenate([x @ weight for x in given_])
    assert seen["a"].largest == pytest.approx(np.abs(products).max(initial=0), rel=1e-5)
    assert seen["a"].lowest == pytest.approx(products.min(initial=np.inf), rel=1e-5, abs=1e-3)
    assert seen["b"].largest == pytest.approx((products**2).max(initial=0), rel=1e-5)


@pytest.mark.parametrize(
    ("number", "largest", "lowest"),
    [(-3.4e38, 0.0, -3.4e38), (-np.inf, 0.0, -np.inf), (np.inf, np.inf, 0.0)],
)
def test_what_stands_for_minus_infinity_is_no_magnitude(
    graph: Path, number: float, largest: float, lowest: float
) -> None:
    x = np.array([[number, 0]], np.float32)
    seen = measure_ranges(graph, [{"x": x, "i": np.array([7])}])["x"]
    assert (seen.largest, seen.lowest) == (largest, np.float32(lowest))


def test_weights_beside_the_graph_are_read_and_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "INLINE_LIMIT_BYTES", 0)
    monkeypatch.setattr(files, "SMALL_BYTES", 0)
    model = ir.from_onnx_text(TEXT)
    ShapeInferencePass()(model)
    save_graph(model, tmp_path / "g.onnx")
    assert (tmp_path / "g.data").is_file()
    x = np.array([[1, 1]], np.float32)
    seen = measure_ranges(tmp_path / "g.onnx", [{"x": x, "i": np.array([7])}])
    assert seen["a"].largest == 6
    assert seen["c"].largest == 7


def test_a_graph_that_does_not_run_is_named(graph: Path) -> None:
    with pytest.raises(GraphError, match="its range is not known") as caught:
        measure_ranges(graph, [{"x": np.ones((1, 3), np.float32), "i": np.array([0])}])
    assert str(graph) in str(caught.value)
