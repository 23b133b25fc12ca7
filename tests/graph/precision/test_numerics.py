"""Random graphs compute the same in float16, up to its digits, and hold to their types."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_ir.passes.common import ShapeInferencePass

from mmedge.graph.passes.check import check_onnx, run_outputs
from mmedge.graph.passes.convert_precision import convert
from mmedge.graph.precision.formats import FORMATS
from mmedge.graph.precision.operator_types import OperatorTypes
from mmedge.verify.tolerances import tolerance_for

FP16 = FORMATS["fp16"]
SIZE = 8
STEPS = (
    "MatMul({}, w)",
    "Add({}, x)",
    "Sub({}, s)",
    "Mul({}, s)",
    "Tanh({})",
    "Relu({})",
    "Transpose({})",
    "Softmax({})",
    "LayerNormalization({}, s)",
    "Sigmoid({})",
    "Concat<axis = 0>({})",
    "Clip({}, low, high)",
    "Where(yes, {}, {})",
)


@st.composite
def graphs(draw: st.DrawFn) -> ir.Model:
    """Up to a dozen operators, each reading what any of those before it made."""
    lines, names = [], ["x"]
    for number in range(draw(st.integers(1, 12))):
        step = draw(st.sampled_from(STEPS))
        inputs = [draw(st.sampled_from(names)) for _ in range(step.count("{}"))]
        names.append(f"v{number}")
        lines.append(f"{names[-1]} = {step.format(*inputs)}")
    extra = draw(st.sampled_from(names))
    size = f"{SIZE},{SIZE}"
    weights = np.random.default_rng(7).normal(0, SIZE**-0.5, (SIZE, SIZE))
    text = f"""<ir_version: 10, opset_import: ["": 23]>
        g (float[{size}] x, bool[{size}] yes) => (float[{size}] out, float[{size}] more)
        <float[{size}] w = {{{_numbers(weights)}}},
         float[{SIZE}] s = {{{_numbers(np.full(SIZE, 0.5))}}}, float low = {{-3}},
         float high = {{3}}>
        {{ {" ".join(lines)} out = Identity({names[-1]}) more = Identity({extra}) }}"""
    model = ir.from_onnx_text(text)
    ShapeInferencePass()(model)
    return model


def _numbers(array: np.ndarray) -> str:  # type: ignore[type-arg]
    return ", ".join(f"{number:.6f}" for number in array.ravel())


@given(model=graphs(), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_float16_is_as_near_as_its_digits(model: ir.Model, seed: int) -> None:
    random = np.random.default_rng(seed)
    feeds = {
        "x": random.normal(size=(SIZE, SIZE)).astype(np.float32),
        "yes": random.random((SIZE, SIZE)) < 0.5,
    }
    before = run_outputs(model, feeds, where="before")
    convert(model, FP16)
    check_onnx(model, where="test")
    _check_types(model)
    after = run_outputs(model, feeds, where="after")
    for name, wanted in before.items():
        allowed = tolerance_for("fp16", fp32=1e-4) * max(float(np.abs(wanted).max()), 1.0)
        assert float(np.abs(after[name] - wanted).max()) <= allowed


@given(model=graphs())
@settings(max_examples=60, deadline=None)
def test_converting_twice_is_converting_once(model: ir.Model) -> None:
    convert(model, FP16)
    once = _shape_of(model)
    again = convert(model, FP16)
    assert _shape_of(model) == once
    assert again.casts == 0


@given(model=graphs())
@settings(max_examples=60, deadline=None)
def test_no_cast_of_a_cast_and_no_two_casts_of_one_value(model: ir.Model) -> None:
    convert(model, FP16)
    casts = [node for node in model.graph if node.op_type == "Cast"]
    sources = [(node.inputs[0], node.outputs[0].dtype) for node in casts]
    assert len(set(sources)) == len(sources)
    for value, _ in sources:
        producer = value.producer() if value is not None else None
        assert producer is None or producer.op_type != "Cast"


def _shape_of(model: ir.Model) -> list[tuple[str, tuple[str, ...], str]]:
    return [
        (n.op_type, tuple(str(v.name) for v in n.inputs if v), str(n.outputs[0].dtype))
        for n in model.graph
    ]


def _check_types(model: ir.Model) -> None:
    """No value of 16 bits goes where the operator's schema refuses it."""
    types = OperatorTypes(model, FP16)
    for node in model.graph:
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype == ir.DataType.FLOAT16:
                assert types.takes(node, index), node
        for index, value in enumerate(node.outputs):
            if value.dtype == ir.DataType.FLOAT16:
                assert types.gives(node, index), node
