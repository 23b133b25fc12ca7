"""What goes between components in float16, and what never does."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from mmedge.generation import Generation
from mmedge.graph.passes.check import check_onnx, run_outputs
from mmedge.graph.passes.convert_precision import convert
from mmedge.graph.precision.decide import Seen
from mmedge.graph.precision.edges import narrow_edges, with_narrow_edges
from mmedge.graph.precision.formats import FORMATS
from mmedge.tensors import Axis, TensorSpec
from mmedge.wiring import ComponentSpec, ModelInput, Substitute, Wiring

FP16 = FORMATS["fp16"]
SMALL = Seen(10.0, -10.0)


def spec(name: str, *axes: str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, ("batch", *axes, 4))


ENCODER = ComponentSpec(
    "encoder",
    "image",
    (spec("x"),),
    (spec("features"), spec("mask"), spec("count", dtype="int64"), spec("shown")),
    {"x": "x"},
)
DECODER = ComponentSpec(
    "decoder",
    "text",
    (
        spec("features"),
        spec("mask"),
        spec("count", dtype="int64"),
        spec("shown"),
        TensorSpec("tokens", "int64", ("batch", "new")),
        spec("past", "past"),
    ),
    (spec("logits", "new"), spec("present", "past + new")),
    {name: f"encoder.{name}" for name in ("features", "mask", "count", "shown")},
)
GENERATION = Generation(
    decoder="decoder",
    token_input="tokens",
    logits_output="logits",
    cache={"past": "present"},
    start_token_ids=(0,),
    end_token_ids=(1,),
    pad_token_id=0,
    max_new_tokens=4,
)
WIRING = Wiring(
    inputs=(ModelInput(spec("x"), "image"),),
    components=(ENCODER, DECODER),
    outputs={"tokens": GENERATION.tokens, "shown": "encoder.shown"},
    axes={"batch": Axis()},
    generation=GENERATION,
)
SEEN = {
    component.name: {tensor.name: SMALL for tensor in (*component.inputs, *component.outputs)}
    for component in WIRING.components
}
SEEN["encoder"]["mask"] = SEEN["decoder"]["mask"] = Seen(0.0, -3.4e38)


def test_features_and_cache_are_narrow_and_nothing_else() -> None:
    edges = narrow_edges(WIRING, SEEN, FP16)
    assert edges == {"encoder": {"features"}, "decoder": {"features", "past", "present"}}
    wiring = with_narrow_edges(WIRING, edges)
    wiring.check()
    (encoder, decoder) = wiring.components
    assert [t.dtype for t in encoder.outputs] == ["float16", "float32", "int64", "float32"]
    assert [t.dtype for t in decoder.outputs] == ["float32", "float16"]
    assert wiring.inputs == WIRING.inputs


@pytest.mark.parametrize("where", [("decoder", "present"), ("decoder", "past")])
def test_a_cache_with_large_numbers_stays_whole(where: tuple[str, str]) -> None:
    component, name = where
    seen = {**SEEN, component: {**SEEN[component], name: Seen(40000.0, 0.0)}}
    assert narrow_edges(WIRING, seen, FP16)["decoder"] == {"features"}


def test_what_was_never_seen_or_may_be_substituted_stays() -> None:
    without = {name: facts for name, facts in SEEN["decoder"].items() if name != "features"}
    assert narrow_edges(WIRING, {**SEEN, "decoder": without}, FP16)["encoder"] == set()
    substitutes = {"encoder.features": Substitute(spec("features"))}
    wiring = msgspec.structs.replace(WIRING, substitutes=substitutes)
    assert narrow_edges(wiring, SEEN, FP16)["encoder"] == set()


def test_the_graph_takes_and_gives_what_its_edges_say() -> None:
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["": 23]>
        g (float[N,2] past, float[N,2] x) => (float[M,2] present, float[N,2] y, float[N,2] z)
        <float[2,2] w = {1,0,0,1}>
        { a = MatMul(x, w) present = Concat<axis = 0>(past, a) y = Softmax(x) z = MatMul(y, w) }""")
    ShapeInferencePass()(model)
    convert(model, FP16, boundary={"past", "present", "y"})
    check_onnx(model, where="test")
    dtypes = {v.name: str(v.dtype) for v in (*model.graph.inputs, *model.graph.outputs)}
    assert dtypes == {
        "past": "FLOAT16",
        "x": "FLOAT",
        "present": "FLOAT16",
        "y": "FLOAT16",
        "z": "FLOAT",
    }
    # x goes down, and up comes z alone: the cache is not cast at all.
    assert sum(node.op_type == "Cast" for node in model.graph) == 3
    feeds = {"past": np.ones((1, 2), np.float16), "x": np.zeros((1, 2), np.float32)}
    made = run_outputs(model, feeds, where="test")
    assert made["present"].tolist() == [[1, 1], [0, 0]]
    assert made["y"].dtype == np.float16
    assert made["z"].tolist() == [[0.5, 0.5]]


def test_an_output_that_is_an_input_and_one_given_twice_convert() -> None:
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["": 23]>
        g (float[2,2] x) => (float[2,2] y, float[2,2] z) <float[2,2] w = {1,0,0,1}>
        { y = Relu(x) z = MatMul(y, w) }""")
    ShapeInferencePass()(model)
    convert(model, FP16, boundary={"x", "z"})
    check_onnx(model, where="test")
    made = run_outputs(model, {"x": np.ones((2, 2), np.float16)}, where="test")
    assert [made[name].dtype for name in ("y", "z")] == [np.float32, np.float16]
