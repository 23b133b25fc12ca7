import numpy as np
import pytest

from mmedge.graph.passes import FoldConstants, run_passes

BIG = ", ".join(["1"] * 400)


def test_a_constant_expression_becomes_a_weight(run, ops):
    text = """(float[n, 2] x) => (float[n, 2] y) <float[2] a = {1, 2}, float[2] b = {3, 4}> {
        c = Mul(a, b) y = Add(x, c) }"""
    model, record = run(text, FoldConstants())
    assert ops(model) == ["Add"]
    np.testing.assert_array_equal(model.graph.initializers["c"].const_value.numpy(), [3, 8])
    assert set(model.graph.initializers) == {"c"}
    assert record.what == ["folded 1 Mul; weights changed by -8 bytes"]


def test_the_shape_of_static_axes_is_a_constant(run, ops):
    text = "(float[n, 4] x) => (y) { s = Shape<start = 1>(x) d = Cast<to = 1>(s) y = Mul(x, d) }"
    model, _ = run(text, FoldConstants())
    assert ops(model) == ["Mul"]


def test_the_shape_of_a_dynamic_axis_stays(run, ops):
    text = """(float[n, 4] x) => (y) {
        s = Shape<start = 0, end = 1>(x) d = Cast<to = 1>(s) y = Mul(x, d) }"""
    model, record = run(text, FoldConstants())
    assert ops(model) == ["Shape", "Cast", "Mul"]
    assert not record.changed


@pytest.mark.parametrize(
    "node",
    [
        "big = Expand(a, s)",
        "big = ConstantOfShape(s)",
        "c = Constant<value_ints = [400, 1]>() big = Tile(a, c)",
    ],
)
def test_folding_never_grows_the_weights(node, run):
    text = f"""(float[1] x) => (y) <float[1, 1] a = {{2}}, int64[2] s = {{400, 1}}> {{
        {node} y = Add(x, big) }}"""
    model, record = run(text, FoldConstants())
    assert model.graph[-2].op_type == node.split("= ")[-1].split("(")[0]
    assert record.initializer_bytes_after <= record.initializer_bytes_before


def test_a_small_growth_is_allowed(run, ops):
    text = """(float[1] x) => (y) <float[1, 1] a = {2}, int64[2] s = {64, 4}> {
        big = Expand(a, s) y = Add(x, big) }"""
    model, record = run(text, FoldConstants())
    assert ops(model) == ["Add"]
    assert record.initializer_bytes_after - record.initializer_bytes_before <= 1024


def test_the_transpose_of_a_shared_weight_stays(run, ops):
    text = f"""(float[n, 20] x, int64[m] i) => (y, e) <float[20, 20] w = {{{BIG}}}> {{
        t = Transpose(w) y = MatMul(x, t) e = Gather(w, i) }}"""
    feeds = {"i": np.array([0, 3], np.int64)}
    model, record = run(text, FoldConstants(), feeds=feeds)
    assert ops(model) == ["Transpose", "MatMul", "Gather"]
    assert not record.changed


def test_the_transpose_of_a_weight_of_its_own_folds(run, ops):
    text = f"""(float[n, 20] x) => (y) <float[20, 20] w = {{{BIG}}}> {{
        t = Transpose(w) y = MatMul(x, t) }}"""
    model, record = run(text, FoldConstants())
    assert ops(model) == ["MatMul"]
    assert record.initializer_bytes_after == record.initializer_bytes_before


SLICES = """(float[n, 20] x) => (y) <float[20, 20] w = {{{big}}}, int64[1] zero = {{0}},
        int64[1] a = {{{a}}}, int64[1] b = {{{b}}}, int64[1] end = {{20}}> {{
        first = Slice(w, zero, a, zero) second = Slice(w, b, end, zero)
        v = Concat<axis = 0>(second, first) y = MatMul(x, v) }}"""


def test_a_weight_whose_parts_change_places_folds(run, ops):
    model, record = run(SLICES.format(big=BIG, a=5, b=5), FoldConstants())
    assert ops(model) == ["MatMul"]
    assert record.initializer_bytes_after < record.initializer_bytes_before


def test_parts_that_overlap_stay(run, ops):
    # Of [20, 20] the graph would have to keep [35, 20].
    text = SLICES.format(big=BIG, a=15, b=0).replace("y = MatMul(x, v)", "y = Gemm<transB=1>(x, v)")
    model, record = run(text, FoldConstants())
    assert "Slice" in ops(model)
    assert record.initializer_bytes_after <= record.initializer_bytes_before


def test_a_cast_to_a_wider_type_is_not_stored(run, ops):
    text = f"""(float[20] x) => (y) <float16[40, 20] w = {{{BIG}, {BIG}}}> {{
        c = Cast<to = 1>(w) y = Add(x, c) }}"""
    assert ops(run(text, FoldConstants())[0]) == ["Cast", "Add"]


def test_quantisation_is_kept(run, ops):
    text = """(float[n, 2] x) => (y) <int8[2, 2] w = {1, 2, 3, 4}, float s = {0.5}, int8 z = {0}> {
        d = DequantizeLinear(w, s, z) y = MatMul(x, d) }"""
    assert ops(run(text, FoldConstants())[0]) == ["DequantizeLinear", "MatMul"]


def test_random_numbers_are_not_frozen(parse, ops):
    text = "(float[2] x) => (y) { r = RandomNormal<shape = [2]>() y = Add(x, r) }"
    model, _ = run_passes(parse(text), [FoldConstants()])
    assert ops(model) == ["RandomNormal", "Add"]


def test_a_constant_graph_output_keeps_its_name(run):
    text = "(float[2] x) => (float[2] y, z) <float[2] a = {1, 2}> { y = Neg(x) z = Neg(a) }"
    model, _ = run(text, FoldConstants())
    assert [value.name for value in model.graph.outputs] == ["y", "z"]


def test_a_constant_condition_inlines_its_branch(run, ops):
    text = """(float[n] x) => (float[n] y) <bool c = {1}> {
        y = If(c) <then_branch = t () => (float[n] p) { p = Neg(x) },
                   else_branch = e () => (float[n] q) { q = Relu(x) }> }"""
    assert ops(run(text, FoldConstants())[0]) == ["Neg"]
