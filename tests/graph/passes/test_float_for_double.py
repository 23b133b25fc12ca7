"""Float64 inside a graph becomes float32: as exact as float32 is, and seen by verification."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedge.graph.passes import FloatForDouble, run_passes

TEXT = """(float[n] x) => (float[n] y) <double h = {0.1}>
    { w = Cast<to = 11>(x) c = Constant<value = double {3.0}>() p = Mul(w, h) q = Add(p, c)
      y = Cast<to = 1>(q) }"""


def types(model: ir.Model) -> set[str]:
    values = [v for node in model.graph for v in (*node.inputs, *node.outputs)]
    return {v.dtype.name for v in values if v is not None and v.dtype is not None}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8))
def test_the_values_are_those_of_float32(run: Any, numbers: list[float]) -> None:
    model, record = run(TEXT, FloatForDouble(), {"x": np.array(numbers, "float32")})
    assert record.changed
    assert types(model) == {"FLOAT"}


def test_a_signature_of_float64_is_left_with_the_reason(parse: Any) -> None:
    text = "(double[n] x) => (double[n] y) { y = Neg(x) }"
    _, (record,) = run_passes(parse(text), [FloatForDouble()])
    assert (record.changed, record.what) == (False, ["left float64: an input or output has it"])


def test_a_graph_without_float64_is_no_finding(parse: Any) -> None:
    text = "(float[n] x) => (float[n] y) { y = Neg(x) }"
    _, (record,) = run_passes(parse(text), [FloatForDouble()])
    assert (record.changed, record.what) == (False, [])
