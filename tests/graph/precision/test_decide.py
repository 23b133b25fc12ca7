"""Which nodes convert, and what is said of those that do not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from mmedge.errors import GraphError
from mmedge.graph.passes.check import check_onnx, run_outputs
from mmedge.graph.passes.convert_precision import Conversion, convert
from mmedge.graph.precision.decide import Seen
from mmedge.graph.precision.formats import FORMATS
from mmedge.graph.provenance import MODULE_PATH

HEAD = '<ir_version: 10, opset_import: ["": 23]>\n'
FP16, BF16 = FORMATS["fp16"], FORMATS["bf16"]


def model_of(text: str) -> ir.Model:
    from onnx_ir.passes.common import ShapeInferencePass

    model = ir.from_onnx_text(HEAD + text)
    ShapeInferencePass()(model)
    for node in model.graph:
        node.metadata_props[MODULE_PATH] = f"net.{node.op_type.lower()}"
    return model


def reasons(done: Conversion) -> dict[str, str]:
    return {operator: kept.why for kept in done.kept for operator in kept.operators}


def casts(model: ir.Model) -> int:
    return sum(node.op_type == "Cast" for node in model.graph)


def test_products_convert_and_a_normalization_between_them_is_named() -> None:
    model = model_of("""
        g (float[N,4] x) => (float[N,4] y)
        <float[4,4] w = {1,2,0,0,0,1,0,0,0,0,1,0,0,0,0,1}, float[4] s = {1,1,1,1}>
        { a = MatMul(x, w) b = LayerNormalization(a, s) y = MatMul(b, w) }""")
    done = convert(model, FP16)
    assert done.operators == {"MatMul": 2}
    assert [kept.module for kept in done.kept] == ["net.layernormalization"]
    assert "normalization" in done.kept[0].why
    assert casts(model) == 4  # in, up, down, out
    check_onnx(model, where="test")
    weights = {name: value.dtype for name, value in model.graph.initializers.items()}
    assert weights == {"w": ir.DataType.FLOAT16, "s": ir.DataType.FLOAT}
    assert done.constants.bytes_after == 16 * 2 + 4 * 4
    assert all(MODULE_PATH in node.metadata_props for node in model.graph)


def test_the_graphs_own_inputs_and_outputs_keep_their_types_and_names() -> None:
    model = model_of("""
        g (float[N,2] x) => (float[N,2] y, float[N,2] z)
        <float[2,2] w = {1,0,0,1}> { y = MatMul(x, w) z = Identity(x) }""")
    convert(model, FP16)
    values = [*model.graph.inputs, *model.graph.outputs]
    assert [value.dtype for value in values] == [ir.DataType.FLOAT] * 3
    assert [value.name for value in values] == ["x", "y", "z"]
    given = np.float32([[1, 2]])
    made = run_outputs(model, {"x": given}, where="test")
    assert np.array_equal(made["y"], given)
    assert np.array_equal(made["z"], given)


def test_a_cast_is_shared_by_all_who_read_the_value() -> None:
    model = model_of("""
        g (float[N,2] x) => (float[N,2] y)
        <float[2,2] w = {1,0,0,1}>
        { a = MatMul(x, w) b = MatMul(x, w) c = Softmax(a) d = Exp(a) e = Add(c, d) f = Add(e, b)
          y = MatMul(f, w) }""")
    convert(model, FP16)
    # x down once for two products; a up once for two readers.
    made = [
        node.inputs[0].name for node in model.graph if node.op_type == "Cast" and node.inputs[0]
    ]
    assert made.count("x") == 1
    assert made.count("a") == 1


def test_what_moves_values_between_kept_operators_is_not_cast() -> None:
    model = model_of("""
        g (float[2,4] x) => (float[8] y)
        { a = Softmax(x) s = Constant<value_ints = [8]>() b = Reshape(a, s) c = Neg(b)
          y = Exp(c) }""")
    done = convert(model, FP16)
    assert done.nodes == 0
    assert casts(model) == 0
    assert "between" in reasons(done)["Reshape"]


def test_a_value_that_gets_too_large_on_real_inputs_is_kept_with_its_number() -> None:
    text = """
        g (float[N,2] x) => (float[N,2] y)
        <float[2,2] w = {1,0,0,1}>
        { a = MatMul(x, w) b = Relu(a) y = MatMul(b, w) }"""
    model = model_of(text)
    done = convert(model, FP16, {"b": Seen(largest=60000.0, lowest=0.0)})
    assert "'b' holds 6e+04 on real inputs" in reasons(done)["Relu"]
    assert done.operators == {"MatMul": 1}
    model = model_of(text)
    assert convert(model, FP16, {"b": Seen(largest=6000.0, lowest=0.0)}).nodes == 3


def test_infinite_and_undefined_values_are_kept() -> None:
    for number in (np.inf, np.nan):
        model = model_of("""
            g (float[N,2] x) => (float[N,2] y)
            <float[2,2] w = {1,0,0,1}> { y = MatMul(x, w) }""")
        assert convert(model, FP16, {"x": Seen(number, 0.0)}).nodes == 0


def test_weights_out_of_range_are_named_and_their_reader_kept() -> None:
    model = model_of("""
        g (float[N,2] x) => (float[N,2] y)
        <float[2,2] w = {70000,0,0,1}, float[2,2] v = {1,0,0,1}>
        { a = MatMul(x, w) y = MatMul(a, v) }""")
    done = convert(model, FP16)
    assert done.constants.too_large == ("w",)
    assert "'w' holds 7e+04" in reasons(done)["MatMul"]
    assert done.nodes == 1
    again = model_of(
        "g (float[N,1] x) => (float[N,1] y) <float[1,1] w = {70000}> { y = MatMul(x, w) }"
    )
    assert convert(again, BF16).constants.too_large == ()


def test_lost_numbers_are_counted_and_an_epsilon_is_not_lost() -> None:
    model = model_of("""
        g (float[N,2] x) => (float[N,2] y)
        <float[2,2] w = {1e-9,1e-6,1,1}, float e = {1e-12}>
        { a = MatMul(x, w) b = Add(a, e) y = MatMul(b, w) }""")
    done = convert(model, FP16)
    assert done.constants.lost == {"w": 1, "e": 1}
    assert done.constants.subnormal == 1
    assert "'e' would become zero" in reasons(done)["Add"]


def test_nan_weights_stay_nan_and_are_named() -> None:
    model = ir.from_onnx_text(HEAD + "g (float[N,1] x) => (float[N,1] y) { y = MatMul(x, w) }")
    tensor = ir.tensor(np.float32([[np.nan]]), name="w")
    weight = model.graph[0].inputs[1]
    assert weight is not None
    weight.const_value, weight.dtype, weight.shape = tensor, tensor.dtype, ir.Shape([1, 1])
    model.graph.register_initializer(weight)
    assert convert(model, FP16).constants.not_finite == ("w",)
    assert weight.const_value is not None
    assert np.isnan(weight.const_value.numpy()).all()


def test_a_weight_that_both_sides_read_is_there_in_both_formats() -> None:
    model = model_of("""
        g (float[2,2] x) => (float[2,2] y, float[2,2] z)
        <float[2,2] w = {1,0,0,1}> { y = MatMul(x, w) z = Pow(x, w) }""")
    convert(model, FP16)
    types = sorted(str(v.dtype) for v in model.graph.initializers.values())
    assert types == ["FLOAT", "FLOAT16"]
    check_onnx(model, where="test")


LOWEST = pytest.mark.parametrize("lowest", ["-3.4028235e38", "-1e9"])


@LOWEST
def test_masked_scores_stay_numbers(lowest: str) -> None:
    """Also in a row that is masked whole."""
    model = model_of(
        """
        g (float[2,3] x, int64[2,3] seen) => (float[2,3] y)
        <float[3,3] w = {1,0,0,0,1,0,0,0,1}, float one = {1}, float low = {LOWEST}>
        { m = Cast<to = 1>(seen) n = Sub(one, m) mask = Mul(n, low)
          a = MatMul(x, w) b = Add(a, mask) p = Softmax(b) q = MatMul(p, w)
          y = Add(q, x) }""".replace("LOWEST", lowest)
    )
    convert(model, FP16)
    seen = np.array([[1, 0, 1], [0, 0, 0]])
    made = run_outputs(model, {"x": np.ones((2, 3), np.float32), "seen": seen}, where="test")["y"]
    assert np.isfinite(made).all()
    assert np.allclose(made[0], [1.5, 1, 1.5], atol=1e-2)


@LOWEST
@pytest.mark.parametrize(
    "made_by", ["Where(seen, zero, low)", "Max(given, low)", "Identity(given)"]
)
def test_a_mask_of_attention_stays_finite(lowest: str, made_by: str) -> None:
    """Whether its infinity is a constant, is computed, or comes from outside and was seen."""
    model = model_of(
        """
        g (float[1,1,2,8] x, bool[2,2] seen, float[2,2] given) => (float[1,1,2,8] y)
        <float low = {LOW}, float zero = {0}>
        { m = MADE y = Attention(x, x, x, m) }""".replace("LOW", lowest).replace("MADE", made_by)
    )
    seen = {"given": Seen(0.0, float(lowest))}
    assert "Attention" in convert(model, FP16, seen).operators
    feeds = {
        "x": np.arange(16, dtype=np.float32).reshape(1, 1, 2, 8) / 16,
        "seen": np.array([[True, False], [False, False]]),
        "given": np.array([[0, float(lowest)], [float(lowest), float(lowest)]], np.float32),
    }
    made = run_outputs(model, feeds, where="test")["y"]
    assert np.isfinite(made).all()
    assert np.allclose(made[0, 0, 0], feeds["x"][0, 0, 0], atol=1e-3)


def test_positions_and_angles_are_exact() -> None:
    model = model_of("""
        g (int64[1,N] p, float[1,4,N] x) => (float[1,4,N] y)
        <float[1,4,1] f = {1,0.1,0.01,0.001}, float[4,4] w = {1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1},
         int64[1] one = {1}>
        { a = Cast<to = 1>(p) b = Unsqueeze(a, one) angles = MatMul(f, b) c = Cos(angles)
          z = MatMul(w, x) y = Mul(z, c) }""")
    done = convert(model, FP16)
    assert done.operators == {"MatMul": 1}
    assert "angles" in reasons(done)["MatMul"]
    feeds = {"p": np.array([[60001, 5]]), "x": np.ones((1, 4, 2), np.float32)}
    made = run_outputs(model, feeds, where="test")["y"]
    angle = feeds["p"] * np.float32([[1], [0.1], [0.01], [0.001]])
    assert np.allclose(made[0], np.cos(angle), atol=2e-3)


def test_branches_stay_float32_with_casts_at_their_border() -> None:
    model = model_of("""
        g (float[2,2] x, bool c) => (float[2,2] y)
        <float[2,2] w = {1,2,0,1}>
        { a = MatMul(x, w)
          b = If (c) <then_branch = t () => (float[2,2] u) { u = Add(a, a) },
                      else_branch = e () => (float[2,2] v) { v = Mul(a, a) }>
          y = MatMul(b, w) }""")
    done = convert(model, FP16)
    assert done.operators == {"MatMul": 2}
    assert "branch or a loop" in reasons(done)["If"]
    assert "branch or a loop" in reasons(done)["Add"]
    check_onnx(model, where="test")
    feeds = {"x": np.eye(2, dtype=np.float32), "c": np.array(True)}
    made = run_outputs(model, feeds, where="test")["y"]
    assert np.array_equal(made, np.float32([[2, 8], [0, 2]]))


def test_an_operator_outside_onnx_is_left_with_a_reason() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["": 23, "mine": 1]>\n'
        "g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {1,0,0,1}, float[2,2] a, float[2,2] b>"
        " { a = MatMul(x, w) b = mine.Thing(a) y = MatMul(b, w) }"
    )
    for node in model.graph:
        node.outputs[0].dtype, node.outputs[0].shape = ir.DataType.FLOAT, ir.Shape([2, 2])
    done = convert(model, FP16)
    assert "not one of ONNX's own" in reasons(done)["Thing"]
    assert done.operators == {"MatMul": 2}


def test_a_value_of_unknown_type_is_refused() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["": 23, "mine": 1]>\n'
        "g (float[2,2] x) => (float[2,2] y) { a = mine.Thing(x) y = Relu(a) }"
    )
    with pytest.raises(GraphError, match="types of 1 values are not known"):
        convert(model, FP16)


def test_attention_converts_whole_with_its_mask() -> None:
    model = model_of("""
        g (float[1,2,3,8] q, float[1,2,3,8] k, float[1,2,3,8] v, float[3,3] m) => (float[1,2,3,8] y)
        { y = Attention(q, k, v, m) }""")
    assert convert(model, FP16).operators == {"Attention": 1}
    node = next(node for node in model.graph if node.op_type == "Attention")
    assert {value.dtype for value in node.inputs if value} == {ir.DataType.FLOAT16}


def test_a_table_is_narrow_even_where_its_rows_are_read_in_float32() -> None:
    model = ir.from_onnx_text(HEAD + "g (int64[N] i) => (float[N,256] y) { y = Gather(table, i) }")
    table = model.graph[0].inputs[0]
    assert table is not None
    table.const_value = ir.tensor(np.ones((256, 256), np.float32), name="table")
    table.dtype, table.shape = ir.DataType.FLOAT, ir.Shape([256, 256])
    model.graph.register_initializer(table)
    done = convert(model, FP16)
    assert (done.constants.bytes_before, done.constants.bytes_after) == (4 * 2**16, 2 * 2**16)
    made = run_outputs(model, {"i": np.array([3])}, where="test")["y"]
    assert np.array_equal(made, np.ones((1, 256), np.float32))


def test_division_by_a_computed_number_is_kept() -> None:
    """x / max(|x|, 1e-12) of zeros is zero, and NaN where 1e-12 became zero."""
    model = model_of("""
        g (float[2,2] x) => (float[2,2] y)
        <float[2,2] w = {1,0,0,1}, float e = {1e-12}, int64[1] last = {-1}>
        { a = MatMul(x, w) n = ReduceL2(a, last) m = Max(n, e) d = Div(a, m) y = MatMul(d, w) }""")
    done = convert(model, FP16)
    assert {"Div", "ReduceL2", "Max"} <= set(reasons(done))
    made = run_outputs(model, {"x": np.zeros((2, 2), np.float32)}, where="test")["y"]
    assert not made.any()


def test_bfloat16_converts_by_the_same_rules() -> None:
    model = model_of("""
        g (float[N,2] x) => (float[N,2] y) <float[2,2] w = {1,0,0,1}>
        { a = MatMul(x, w) y = Softmax(a) }""")
    assert convert(model, BF16).operators == {"MatMul": 1}
    assert model.graph.initializers["w"].dtype == ir.DataType.BFLOAT16
    check_onnx(model, where="test")
