"""Products in 8-bit integers and with weights of 4 and 8 bits, run in ONNX Runtime."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedge.graph.provenance import MODULE_PATH
from mmedge.quantize.dynamic_product import quantize_product
from mmedge.quantize.matrix_weights import Product, product_of
from mmedge.quantize.weight_only_product import quantize_weights

DRAW = np.random.default_rng(0)
MATMUL = "(float[n, {k}] x, float[{k}, {m}] w) => (float[n, {m}] y) {{ y = MatMul(x, w) }}"
FORMS = {
    "MatMul": "(float[a, b, 6] x, float[6, 5] w) => (y) { y = MatMul(x, w) }",
    "Gemm": "(float[n, 6] x, float[6, 5] w, float[5] b) => (y) { y = Gemm(x, w, b) }",
    "Gemm of a transposed weight": """(float[n, 6] x, float[5, 6] w, float[5] b) => (y)
        { y = Gemm<transB = 1>(x, w, b) }""",
    "a tied head": """(float[n, 6] x, float[5, 6] w) => (y)
        { t = Transpose<perm = [1, 0]>(w) y = MatMul(x, t) }""",
}
SHAPES = {"MatMul": (2, 3, 6)}


def weights_of(form):
    shape = (5, 6) if "5, 6]" in FORMS[form] else (6, 5)
    given_ = {"w": DRAW.normal(size=shape).astype(np.float32)}
    return given_ | (
        {"b": DRAW.normal(size=5).astype(np.float32)} if "float[5] b" in FORMS[form] else {}
    )


def only_product(model) -> Product:
    (found,) = (p for node in model.graph if isinstance(p := product_of(node), Product))
    return found


TREATMENTS = {
    "dynamic": (lambda m, p: quantize_product(m, p, module="layer"), 0.02),
    "8 bits": (lambda m, p: quantize_weights(m, p, module="layer", bits=8, block=16), 0.02),
    "4 bits": (lambda m, p: quantize_weights(m, p, module="layer", bits=4, block=16), 0.2),
}


@pytest.mark.parametrize("treatment", TREATMENTS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_product_is_close_to_what_it_was(form, treatment, graph_with, answers):
    apply, allowed = TREATMENTS[treatment]
    weights = weights_of(form)
    x = DRAW.normal(size=SHAPES.get(form, (4, 6))).astype(np.float32)
    right = answers(graph_with(FORMS[form], **weights), x=x)["y"]
    model = graph_with(FORMS[form], **weights)
    done = apply(model, only_product(model))
    found = answers(model, x=x)["y"]
    assert 0 < np.linalg.norm(found - right) / np.linalg.norm(right) < allowed
    assert done.module == "layer"
    assert done.weight_sqnr_db > 15


@settings(max_examples=20, deadline=None)
@given(k=st.integers(1, 70), m=st.integers(1, 9), n=st.integers(1, 4), bits=st.sampled_from([4, 8]))
def test_blocks_that_inputs_do_not_fill(graph_with, answers, k, m, n, bits):
    w, x = (DRAW.normal(size=s).astype(np.float32) for s in ((k, m), (n, k)))
    model = graph_with(MATMUL.format(k=k, m=m), w=w)
    quantize_weights(model, only_product(model), module="", bits=bits, block=32)
    found = answers(model, x=x)["y"]
    # A weight moves by half a step of its block at most, an input by half of 1/127 of its largest.
    steps = np.abs(w).max() / (7 if bits == 4 else 127)
    allowed = np.abs(x).sum(1, keepdims=True) * (steps / 2 + np.abs(w).max() / 127) + 1e-4
    assert (np.abs(found - x @ w) <= allowed).all()


def test_products_of_one_input_share_its_quantization(graph_with, answers):
    text = """(float[n, 8] x, float[8, 4] w, float[8, 4] v) => (y, z)
        { y = MatMul(x, w) z = MatMul(x, v) }"""
    w, v, x = (DRAW.normal(size=s).astype(np.float32) for s in ((8, 4), (8, 4), (3, 8)))
    model = graph_with(text, w=w, v=v)
    for node in list(model.graph):
        quantize_product(model, product_of(node), module="")
    operators = [node.op_type for node in model.graph]
    assert operators.count("DynamicQuantizeLinear") == 1
    assert operators.count("MatMulInteger") == 2
    found = answers(model, x=x)
    np.testing.assert_allclose(found["z"], x @ v, atol=0.15)


def test_new_nodes_carry_the_module_and_outputs_keep_their_names(graph_with):
    model = graph_with(FORMS["MatMul"], **weights_of("MatMul"))
    node = model.graph.node(0)
    node.metadata_props[MODULE_PATH] = "encoder.fc"
    quantize_product(model, product_of(node), module="encoder.fc")
    assert {n.metadata_props[MODULE_PATH] for n in model.graph} == {"encoder.fc"}
    assert [v.name for v in model.graph.outputs] == ["y"]


REFUSED = {
    "two computed factors": "(float[n, 6] x, float[6, n] w) => (y) { y = MatMul(x, w) }",
    "scaled": """(float[n, 6] x, float[6, 5] w, float[5] b) => (y)
        { y = Gemm<alpha = 2.0>(x, w, b) }""",
}


def test_what_is_no_plain_product_says_why(graph_with):
    computed = graph_with(REFUSED["two computed factors"])
    assert product_of(computed.graph.node(0)) == "both of its factors are computed"
    scaled = graph_with(REFUSED["scaled"], w=np.ones((6, 5), np.float32), b=np.ones(5, np.float32))
    assert "alpha" in product_of(scaled.graph.node(0))
    relu = graph_with("(float[n] x) => (y) { y = Relu(x) }")
    assert product_of(relu.graph.node(0)) is None


def test_zero_weights_and_zero_inputs_stay_zero(graph_with, answers):
    model = graph_with(FORMS["MatMul"], w=np.zeros((6, 5), np.float32))
    quantize_product(model, only_product(model), module="")
    assert not answers(model, x=np.zeros((1, 2, 6), np.float32))["y"].any()
    assert isinstance(model, ir.Model)
