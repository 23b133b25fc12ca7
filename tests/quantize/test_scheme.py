"""Number formats and schemes, held to ONNX Runtime's QuantizeLinear and DequantizeLinear."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, parser

from mmedge.quantize import number_formats as formats
from mmedge.quantize.scheme import Scheme, dequantize, limits, parameters, quantize, rounded

ONNX_TYPES = {
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int4": TensorProto.INT4,
    "uint4": TensorProto.UINT4,
    "fp8_e4m3": TensorProto.FLOAT8E4M3FN,
}
SCALED = tuple(formats.FORMATS[name] for name in ONNX_TYPES)
REALS = st.floats(-1e4, 1e4, width=32, allow_nan=False)
TENSORS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=9), elements=REALS
)


def by_onnxruntime(values, by):
    """Q then DQ in ONNX Runtime, unoptimised: fp8 runs on a CPU in no other way."""
    scheme = by.scheme
    attributes = {} if scheme.axis is None else {"axis": scheme.axis}
    if scheme.block is not None:
        attributes["block_size"] = scheme.block
    kind = ONNX_TYPES[scheme.format.name]
    graph = parser.parse_graph("g (float x) => (float y) { y = Identity(x) }")
    graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape))
    del graph.node[:]
    graph.node.append(helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes))
    graph.node.append(helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **attributes))
    shape = by.scale.shape
    zeros = by.zero_point.astype(np.float32).ravel()
    graph.initializer.append(helper.make_tensor("s", TensorProto.FLOAT, shape, by.scale.ravel()))
    graph.initializer.append(helper.make_tensor("z", kind, shape, zeros))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"x": values})[0]


@st.composite
def cases(draw):
    """A tensor and a scheme that fits it."""
    values, kind = draw(TENSORS), draw(st.sampled_from(SCALED))
    symmetric = isinstance(kind, formats.FloatFormat) or draw(st.booleans())
    axis = draw(st.sampled_from([None, *range(values.ndim)]))
    blocked = axis is not None and isinstance(kind, formats.IntegerFormat) and draw(st.booleans())
    block = draw(st.integers(1, values.shape[axis])) if blocked else None
    return values, Scheme(kind, symmetric, axis, block)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_rounding_is_onnx_runtimes(case):
    values, scheme = case
    by = parameters(*limits(values, scheme), scheme)
    np.testing.assert_array_equal(rounded(values, by), by_onnxruntime(values, by))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_every_value_moves_by_half_a_step_at_most(case):
    values, scheme = case
    by = parameters(*limits(values, scheme), scheme)
    if isinstance(scheme.format, formats.FloatFormat):
        steps = np.maximum(np.abs(values) / 8, np.float32(by.scale.max()) * 2.0**-9)
    else:
        steps = np.broadcast_to(by.scale.max() * 1.001, values.shape)
    # An asymmetric range is shifted by up to half a step so that 0 is exact: a step at its ends.
    allowed = steps * (0.5 if scheme.symmetric else 1.0) + 1e-30
    assert (np.abs(rounded(values, by) - values) <= allowed).all()


@given(st.sampled_from(SCALED), st.floats(0, 1e30), st.floats(0, 1e30), st.booleans())
def test_zero_is_exact(kind, low, high, symmetric):
    scheme = Scheme(kind, symmetric or isinstance(kind, formats.FloatFormat))
    by = parameters(-low, high, scheme)
    assert rounded(np.zeros(3, np.float32), by).tolist() == [0, 0, 0]


def test_stored_numbers_come_back_as_they_are():
    scheme = Scheme(formats.INT8, axis=0)
    by = parameters(np.array([-1.0, -2.0]), np.array([1.0, 0.5]), scheme)
    stored = np.arange(-127, 128, dtype=np.int8)[None].repeat(2, axis=0)
    np.testing.assert_array_equal(quantize(dequantize(stored, by), by), stored)


def test_a_block_that_the_axis_does_not_fill():
    scheme = Scheme(formats.INT4, axis=1, block=4)
    values = np.array([[7.0, 1, 1, 1, 0.5, 0.25]], np.float32)
    by = parameters(*limits(values, scheme), scheme)
    assert by.scale.shape == (1, 2)
    np.testing.assert_allclose(by.scale, [[1.0, 0.5 / 7]], rtol=1e-6)


@pytest.mark.parametrize("bad", [(np.nan, 1.0), (-1.0, np.inf)])
def test_ranges_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        parameters(*bad, Scheme(formats.INT8))


def test_impossible_schemes_are_refused():
    with pytest.raises(ValueError, match="axis"):
        Scheme(formats.INT4, block=32)
    with pytest.raises(ValueError, match="zero point"):
        Scheme(formats.FP8_E4M3, symmetric=False)


@given(hnp.arrays(np.float32, 64, elements=st.floats(-70000, 70000, width=32)))
def test_fp16_and_bf16_saturate_and_round_as_numpy(values):
    half = np.clip(values, -65504, 65504).astype(np.float16)
    np.testing.assert_array_equal(formats.FP16.stored(values.astype(np.float64)), half)
    import ml_dtypes

    brain = formats.BF16.stored(values.astype(np.float64))
    np.testing.assert_array_equal(brain, values.astype(ml_dtypes.bfloat16))
