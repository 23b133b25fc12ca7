"""Random small graphs keep their values and signature through all passes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_ir.passes.common import ShapeInferencePass

from mmedge.graph.passes import DEFAULT_PASSES, run_passes
from mmedge.graph.passes.check import check_outputs, run_outputs

# Each keeps [n, 4] float32. A and B are earlier values; W is a weight of its own.
TEMPLATES = [
    "{out} = Identity({a})",
    "{out} = Relu({a})",
    "{out} = Neg({a})",
    "{out} = Dropout({a})",
    "{out} = Cast<to = 1>({a})",
    "{out} = Add({a}, {b})",
    "{out} = Sub({a}, zero)",
    "{out} = Mul({a}, one)",
    "{out} = Add(row, {a})",
    "{out} = MatMul({a}, square)",
    "{out}_t = Transpose(square) {out} = MatMul({a}, {out}_t)",
    "{out} = MatMul({a}, squared)",
    "{out} = Transpose<perm = [0, 1]>({a})",
    "{out}_t = Transpose<perm = [1, 0]>({a}) {out} = Transpose<perm = [1, 0]>({out}_t)",
    "{out}_t = Transpose<perm = [1, 0]>({a}) {out}_n = Neg({out}_t)"
    " {out} = Transpose<perm = [1, 0]>({out}_n)",
    "{out} = Reshape({a}, keep)",
    "{out}_f = Reshape({a}, flat) {out} = Reshape({out}_f, rows)",
    "{out}_s = Shape({a}) {out} = Reshape({b}, {out}_s)",
    "{out}_s = Shape(v) {out} = Expand({a}, {out}_s)",
    "{out}_s = Shape<start = 0, end = 1>(v) {out}_c = Concat<axis = 0>({out}_s, four)"
    " {out} = Expand(row, {out}_c)",
    "{out}_m = Add(row, row2) {out} = Add({a}, {out}_m)",
    "{out} = Slice({a}, start, end)",
    "{out} = Concat<axis = 1>({a})",
    "{out} = Split<axis = 1, num_outputs = 1>({a})",
]
WEIGHTS = """float zero = {0}, float one = {1},
    float[4] row = {1, 0, 2, 0}, float[4] row2 = {1, 0, 2, 0},
    float[4, 4] square = {0,1,2,3, 4,5,6,7, 8,9,0,1, 2,3,4,5},
    float[4, 4] squared = {0,4,8,2, 1,5,9,3, 2,6,0,4, 3,7,1,5},
    int64[2] keep = {0, 4}, int64[2] rows = {-1, 4}, int64[1] flat = {-1}, int64[1] four = {4},
    int64[1] start = {0}, int64[1] end = {9223372036854775807}"""


@st.composite
def graphs(draw) -> str:
    values = ["x"]
    nodes = []
    for index in range(draw(st.integers(1, 8))):
        a, b = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        nodes.append(draw(st.sampled_from(TEMPLATES)).format(out=f"o{index}", a=a, b=b))
        values.append(f"o{index}")
    outputs = draw(st.lists(st.sampled_from(values[1:]), min_size=1, unique=True))
    declared = ", ".join(f"float[n, 4] {name}" for name in outputs)
    body = " ".join(nodes)
    return f"g (float[n, 4] x, float[n, 4] v) => ({declared}) <{WEIGHTS}> {{ {body} }}"


def feeds(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    return {name: rng.normal(size=(rows, 4)).astype(np.float32) for name in ("x", "v")}


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_values_and_names_survive(text):
    model = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 23]> {text}')
    model = ShapeInferencePass()(model).model
    before = {rows: run_outputs(model, feeds(rows), where="before") for rows in (1, 4)}
    model, records = run_passes(model, DEFAULT_PASSES, feeds=feeds(3))
    for rows, expected in before.items():
        found = run_outputs(model, feeds(rows), where="after")
        assert list(found) == list(expected)
        check_outputs(expected, found, where=f"{rows} rows")
    assert records[-1].nodes_after <= records[0].nodes_before
    assert records[-1].initializer_bytes_after <= records[0].initializer_bytes_before
