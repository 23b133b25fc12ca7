"""Q/DQ pairs by calibration: what ONNX Runtime makes of them, and how far the outputs move."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from mmedge.errors import DataError, GraphError
from mmedge.graph.files import save_graph
from mmedge.graph.passes.check import check_onnx
from mmedge.graph.provenance import MODULE_PATH
from mmedge.quantize.calibrate import constant_inputs, observe
from mmedge.quantize.number_formats import INT8, UINT8
from mmedge.quantize.scheme import Scheme
from mmedge.quantize.static_qdq import StaticScheme, apply, plan
from mmedge.runtime.runner import open_engine

ONNXRUNTIME = StaticScheme(Scheme(UINT8, symmetric=False))
TENSORRT = StaticScheme(Scheme(INT8, symmetric=True), observer="entropy", integer_biases=False)
DRAW = np.random.default_rng(0)
BLOCK = """(float[n, 3, 12, 12] x, float[8, 3, 3, 3] w, float[8] b, float[8, 8, 3, 3] v,
    float[8, 5] u) => (float[n, 5] y)
    { c = Conv<pads = [1, 1, 1, 1]>(x, w, b) r = Relu(c)
      d = Conv<pads = [1, 1, 1, 1]>(r, v) s = Add(r, d) t = Relu(s)
      m = GlobalAveragePool(t) f = Flatten(m) y = MatMul(f, u) }"""
WEIGHTS = {
    "w": DRAW.normal(size=(8, 3, 3, 3)).astype(np.float32) / 5,
    "b": DRAW.normal(size=8).astype(np.float32),
    "v": DRAW.normal(size=(8, 8, 3, 3)).astype(np.float32) / 8,
    "u": DRAW.normal(size=(8, 5)).astype(np.float32),
}
FEEDS = [{"x": DRAW.normal(size=(2, 3, 12, 12)).astype(np.float32)} for _ in range(4)]


@pytest.fixture
def block(graph_with, tmp_path):
    """The graph, and its file."""
    model = graph_with(BLOCK, **WEIGHTS)
    save_graph(model, tmp_path / "block.onnx")
    return model, tmp_path / "block.onnx"


def quantized(block, scheme=ONNXRUNTIME, *, carriers=True, only=None):
    model, path = block
    placement = plan(model, carriers=carriers, only=only)
    seen = observe(path, list(placement.values), FEEDS)
    return model, apply(model, placement, seen, scheme), placement


def optimised(model: ir.Model, folder: Path) -> list[str]:
    """The operators that ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    return [node.op_type for node in ir.load(folder / "optimised.onnx").graph]


@pytest.mark.parametrize("scheme", [ONNXRUNTIME, TENSORRT], ids=["uint8", "int8"])
@pytest.mark.parametrize("carriers", [True, False])
def test_outputs_stay_close(block, graph_with, answers, scheme, carriers):
    right = answers(graph_with(BLOCK, **WEIGHTS), **FEEDS[0])["y"]
    model, done, _ = quantized(block, scheme, carriers=carriers)
    check_onnx(model, where="test")
    found = answers(model, **FEEDS[0])["y"]
    assert 0 < np.linalg.norm(found - right) / np.linalg.norm(right) < 0.06
    assert [d.operator for d in done] == ["Conv", "Conv", "MatMul"]
    assert all(d.weight_sqnr_db > 30 for d in done)


def test_onnx_runtime_computes_in_integers(block, tmp_path):
    model, _, _ = quantized(block)
    operators = optimised(model, tmp_path)
    assert operators.count("QLinearConv") == 2
    assert "QLinearAdd" in operators
    assert "Conv" not in operators
    assert "Relu" not in operators


def test_a_residual_sum_stays_in_float_where_the_target_wants_it(block):
    model, _, placement = quantized(block, TENSORRT, carriers=False)
    (add,) = (node for node in model.graph if node.op_type == "Add")
    assert str(add.outputs[0].name) not in placement.values


def test_an_operator_that_the_search_leaves_out_is_untouched(block, graph_with):
    names = [str(n.name) for n in block[0].graph if n.op_type == "Conv"]
    model, done, placement = quantized(block, only=names[:1])
    assert [d.node for d in done] == names[:1]
    assert set(placement.refused.values()) == {"left out by the search"}
    untouched = [n for n in model.graph if n.op_type == "MatMul"]
    assert untouched[0].inputs[1].name == "u"


def test_the_graph_keeps_its_signature_and_modules(block):
    for node in block[0].graph:
        node.metadata_props[MODULE_PATH] = f"m.{node.op_type}"
    model, done, _ = quantized(block)
    assert [v.name for v in model.graph.outputs] == ["y"]
    assert [v.name for v in model.graph.inputs] == ["x"]
    assert done[0].module == "m.Conv"
    behind_x = [n for n in model.graph if n.op_type.endswith("Linear") and n.inputs[0].name == "x"]
    assert len(behind_x) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "(float[1, 2, 4, 4] x, float[2, 2, 1, 1] w) => (y) { y = Conv(x, w) }",
            "weights are computed",
        ),
        ("(float[2, 3] x, float[3, 3] w) => (y) { y = MatMul(x, w) }", "weights are computed"),
    ],
)
def test_what_has_no_constant_weights_says_so(graph_with, text, why):
    placement = plan(graph_with(text), carriers=True)
    assert not placement.nodes
    assert all(why in reason for reason in placement.refused.values())
    assert placement.refused


def test_calibration_without_inputs_says_what_is_possible(block):
    with pytest.raises(DataError, match="no calibration inputs") as caught:
        observe(block[1], ["x"], [])
    assert "dynamic" in str(caught.value)


def test_values_that_are_not_finite_are_refused(block):
    poisoned = {"x": np.full((1, 3, 12, 12), np.nan, np.float32)}
    with pytest.raises(DataError, match="NaN or infinite") as caught:
        observe(block[1], ["r"], [poisoned])
    assert "r (" in str(caught.value)


def test_inputs_of_another_shape_are_an_error_of_the_graph(block):
    with pytest.raises(GraphError, match="does not run"):
        observe(block[1], ["r"], [{"x": np.zeros((1, 4, 12, 12), np.float32)}])


def test_a_constant_input_is_reported():
    batches = [{"a": np.zeros(3, np.float32), "b": np.full(3, i, np.float32)} for i in range(2)]
    assert constant_inputs(batches) == ["a"]


def test_many_values_are_looked_at_in_groups(graph_with, tmp_path, monkeypatch):
    monkeypatch.setattr("mmedge.quantize.calibrate.VALUES_AT_ONCE", 2)
    model = graph_with(BLOCK, **WEIGHTS)
    save_graph(model, tmp_path / "b.onnx")
    found = observe(tmp_path / "b.onnx", ["x", "c", "r", "s", "y"], FEEDS)
    assert found["x"].values == sum(f["x"].size for f in FEEDS)
    assert found["r"].low == 0
    assert found["s"].high > found["r"].high


def test_int8_that_is_reshaped_opens(graph_with, tmp_path):
    text = """(float[n, 4, 2, 2] x, float[4, 4, 1, 1] w) => (float[n, 4, 4] y)
        { c = Conv(x, w) s = Constant<value_ints = [0, 4, 4]>() f = Reshape(c, s)
          t = Transpose<perm = [0, 2, 1]>(f) y = Softmax(t) }"""
    constants = {"w": DRAW.normal(size=(4, 4, 1, 1)).astype(np.float32)}
    model = graph_with(text, **constants)
    save_graph(model, tmp_path / "float.onnx")
    feeds = [{"x": DRAW.normal(size=(2, 4, 2, 2)).astype(np.float32)}]
    placement = plan(model, carriers=False)
    seen = observe(tmp_path / "float.onnx", list(placement.values), feeds)
    apply(model, placement, seen, TENSORRT)
    save_graph(model, tmp_path / "integers.onnx")
    with open_engine("onnxruntime", tmp_path / "integers.onnx") as runner:
        assert runner.infer(feeds[0])["y"].shape == (2, 4, 4)
