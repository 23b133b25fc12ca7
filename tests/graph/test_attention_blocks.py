import onnx_ir as ir
import pytest

from mmedge.graph.attention_blocks import attention_blocks
from mmedge.graph.provenance import stamp_module_paths

SEPARATE = """(float[b, 2, s, 8] q, float[b, 2, 8, t] k, float[b, 2, t, 8] v) => (y) {
    z = MatMul(q, k) p = Softmax(z) y = MatMul(p, v) }"""


def blocks(text: str, opset: int = 23):
    model = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : {opset}]> g {text}')
    stamp_module_paths(model)
    for node in model.graph:
        node.metadata_props["mmedge.module"] = "layers.0.attn"
    return attention_blocks(model)


def test_an_operator_is_fused():
    (block,) = blocks("""(float[b, 4, s, 8] q, float[b, 2, s, 8] k, float[b, 2, s, 8] v,
        float[b, 2, p, 8] pk, float[b, 2, p, 8] pv) => (y, nk, nv) {
        y, nk, nv = Attention(q, k, v, , pk, pv) }""")
    assert (block.module, block.treatment) == ("layers.0.attn", "fused")
    assert "4 query heads share 2" in block.why
    assert "joins the past" in block.why


def test_one_without_a_cache_says_less():
    (block,) = blocks("""(float[b, 2, s, 8] q, float[b, 2, t, 8] k, float[b, 2, t, 8] v)
        => (y) { y = Attention(q, k, v) }""")
    assert block.why == "one Attention operator"


@pytest.mark.parametrize(("opset", "why"), [(18, "opset 18 has no"), (23, "the model itself")])
def test_separate_operators_are_left_and_say_why(opset, why):
    (block,) = blocks(SEPARATE, opset)
    assert block.treatment == "left"
    assert why in block.why


@pytest.mark.parametrize("between", ["Cast<to = 1>", "Dropout", "Identity"])
def test_what_stands_between_hides_nothing(between):
    text = SEPARATE.replace("MatMul(p, v)", "MatMul(w, v)").replace(
        "y = MatMul(w", f"w = {between}(p) y = MatMul(w"
    )
    assert len(blocks(text)) == 1


def test_the_softmax_of_a_classifier_is_no_attention():
    assert not blocks("(float[b, 8] x) => (y) { y = Softmax(x) }")
    mixture = "(float[b, 8] x) => (y) <float[8, 2] w> { p = Softmax(x) y = MatMul(p, w) }"
    weights = ", ".join("1" * 16)
    assert not blocks(mixture.replace("float[8, 2] w", f"float[8, 2] w = {{{weights}}}"))
