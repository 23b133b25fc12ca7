"""The function of ONNX operators against the reference, on ONNX Runtime and through TensorRT."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedge.ops.fused_attention import FusedAttention, fused_attention
from mmedge.ops.fused_attention_body import IR_VERSION, function, overload
from tests.ops.attention_cases import Case, cases

OPSETS = (18, 23, 24)


def as_model(attention: FusedAttention, tensors: list[np.ndarray], opset: int) -> bytes:
    """A graph of one node and its function."""
    inputs = [
        ir.Value(
            name=name,
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            shape=ir.Shape([f"{name}_{axis}" for axis in range(array.ndim)]),
        )
        for name, array in zip(attention.inputs, tensors, strict=True)
    ]
    node = ir.node(
        "FusedAttention",
        inputs,
        attention.attributes,
        domain="mmedge",
        overload=overload(attention),
    )
    output = node.outputs[0]
    output.name, output.type, output.shape = "O", inputs[0].type, inputs[0].shape
    imports = {"": opset, "mmedge": 1}
    graph = ir.Graph(inputs, [output], nodes=[node], opset_imports=imports, name="one")
    body = function(attention, opset=opset)
    made = ir.Model(graph, ir_version=IR_VERSION, functions=[body])
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def run(case: Case, opset: int) -> torch.Tensor:
    arrays = [tensor.numpy() for tensor in case.in_order]
    session = ort.InferenceSession(as_model(case.attention, arrays, opset))
    feeds = dict(zip(case.attention.inputs, arrays, strict=True))
    return torch.from_numpy(session.run(None, feeds)[0])


@settings(max_examples=40, deadline=None)
@given(cases(), st.sampled_from(OPSETS))
def test_onnx_runtime_computes_the_reference(case: Case, opset: int) -> None:
    exact = fused_attention(case.attention, case.in_order, exact=True)
    torch.testing.assert_close(run(case, opset).double(), exact, rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(cases(dtype=torch.float16), st.sampled_from(OPSETS))
def test_half_precision_is_rounded_once(case: Case, opset: int) -> None:
    found = run(case, opset)
    assert found.dtype == torch.float16
    exact = fused_attention(case.attention, case.in_order, exact=True)
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-5)


def test_rows_without_a_key_give_zero_and_padding_is_not_read() -> None:
    attention = FusedAttention(2, 1, 0.5, causal=2, len_mode=1)
    value = torch.randn(2, 3, 4)
    value[0], value[1, 2:] = float("nan"), float("inf")
    tensors = {"Q": torch.randn(2, 5, 8), "K": torch.randn(2, 3, 4), "V": value}
    case = Case(attention, tensors | {"kv_len": torch.tensor([0, 2]).int()})
    found = run(case, 18)
    assert (found[0] == 0).all()
    assert (found[1, :3] == 0).all()
    torch.testing.assert_close(found, fused_attention(attention, case.in_order))


def test_each_list_of_inputs_has_a_function_of_its_own() -> None:
    lists = [
        FusedAttention(1, 1, 1.0, has_bias=bias, len_mode=mode)
        for bias, mode in itertools.product((0, 1), (0, 1, 2))
    ]
    assert len({overload(attention) for attention in lists}) == len(lists)
    causal = msgspec.structs.replace(lists[0], causal=1, num_heads=4, scale=0.1)
    assert overload(causal) == overload(lists[0])


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize(("bias", "mode"), [*itertools.product((0, 1), (0, 1, 2))])
def test_tensorrt_inlines_it_where_no_plugin_is_registered(
    opset: int, bias: int, mode: int
) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    attention = FusedAttention(4, 2, 0.3, causal=1, has_bias=bias, len_mode=mode)
    half = np.float16
    arrays = [np.zeros((1, 5, 32), half), np.zeros((1, 7, 16), half), np.zeros((1, 7, 16), half)]
    arrays += [np.zeros((1, 4, 5, 7), half)] * bias
    arrays += [np.zeros(1 if mode == 1 else 3, np.int32)] * mode
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    network = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(as_model(attention, arrays, opset))
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    assert network.get_output(0).dtype == trt.float16
