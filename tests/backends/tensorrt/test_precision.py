"""TensorRT for RTX builds what the conversion to 16 bits makes, and its engine is smaller."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from mmedge.backends.tensorrt.build import build_engine
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.engine_plan import Range
from mmedge.graph.files import save_graph
from mmedge.graph.passes.convert_precision import convert
from mmedge.graph.precision.formats import FORMATS
from mmedge.runtime.tensorrt.library import find_library
from mmedge.tensors import TensorSpec

pytest.importorskip("tensorrt_rtx")
WIDTH, HEADS = 1024, 16
# A block of a transformer, with its mask made of float32's lowest number.
BLOCK = f"""<ir_version: 10, opset_import: ["": 23]>
g (float[batch,16,{WIDTH}] x, bool[batch,1,16,16] seen) => (float[batch,16,{WIDTH}] y)
<float zero = {{0}}, float lowest = {{-3.4028235e38}}, float half = {{0.5}},
 int64[4] heads = {{0,16,{HEADS},{WIDTH // HEADS}}}, int64[3] whole = {{0,16,{WIDTH}}}>
{{
    mask = Where(seen, zero, lowest)
    n = LayerNormalization(x, scale)
    a = MatMul(n, w) b = Reshape(a, heads) q = Transpose<perm = [0,2,1,3]>(b)
    k = Neg(q) v = Abs(q) o = Attention(q, k, v, mask)
    t = Transpose<perm = [0,2,1,3]>(o) m = Reshape(t, whole) r = Add(x, m)
    l = LayerNormalization(r, scale) h = MatMul(l, w) e = Erf(h) f = Mul(e, half) g1 = MatMul(f, w)
    y = Add(r, g1)
}}"""
INPUTS = (
    TensorSpec("x", "float32", ("batch", 16, WIDTH)),
    TensorSpec("seen", "bool", ("batch", 1, 16, 16)),
)


def block() -> ir.Model:
    model = ir.from_onnx_text(BLOCK)
    random = np.random.default_rng(0)
    arrays = {
        "w": random.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32),
        "scale": np.ones(WIDTH, np.float32),
    }
    readers = [value for node in model.graph for value in node.inputs if value is not None]
    for name, array in arrays.items():
        value = next(value for value in readers if value.name == name)
        value.const_value = ir.tensor(array, name=name)
        value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape(array.shape)
        model.graph.register_initializer(value)
        for node in model.graph:
            for index, other in enumerate(node.inputs):
                if other is not None and other.name == name:
                    node.replace_input_with(index, value)
    ShapeInferencePass()(model)
    return model


def engine_of(model: ir.Model, directory: Path) -> bytes:
    path = directory / "block.onnx"
    save_graph(model, path)
    return build_engine(
        find_library("tensorrt_rtx", purpose="testing"),
        path,
        INPUTS,
        [{"batch": Range(1, 2, 4)}],
        settings=Settings("8.6"),
        label="block",
    ).data


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_converted_graphs_build(tmp_path: Path, precision: str) -> None:
    plain = engine_of(block(), tmp_path)
    model = block()
    done = convert(model, FORMATS[precision])
    assert {"MatMul", "Attention"} <= done.operators.keys()
    narrow = engine_of(model, tmp_path)
    saved = len(plain) - len(narrow)
    assert saved > 0.8 * (done.constants.bytes_before - done.constants.bytes_after)
