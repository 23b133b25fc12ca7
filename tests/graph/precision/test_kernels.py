"""What is said to have no kernel really does not run, and the other way round."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from mmedge.errors import GraphError
from mmedge.graph.passes.check import run_outputs
from mmedge.graph.passes.convert_precision import convert
from mmedge.graph.precision.formats import FORMATS
from mmedge.graph.precision.kernels import without_kernel

HEAD = '<ir_version: 10, opset_import: ["": 23]> g (float[2,2] x) => (float[2,2] y)'


def converted(body: str, precision: str) -> ir.Model:
    model = ir.from_onnx_text(f"{HEAD} <float[2,2] w = {{1,0,0,1}}> {{ {body} }}")
    ShapeInferencePass()(model)
    convert(model, FORMATS[precision])
    return model


@pytest.mark.parametrize("operator", ["Relu", "Transpose", "Sigmoid", "Neg", "Tanh", "Identity"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_table_of_kernels_is_true(operator: str, precision: str) -> None:
    model = converted(f"a = MatMul(x, w) b = {operator}(a) y = MatMul(b, w)", precision)
    missing = without_kernel(model, FORMATS[precision])
    feeds = {"x": np.ones((2, 2), np.float32)}
    if missing:
        assert precision == "bf16"
        assert missing["MatMul"] == ["", ""]
        with pytest.raises(GraphError, match="does not run"):
            run_outputs(model, feeds, where="test")
    else:
        assert precision == "fp16"
        run_outputs(model, feeds, where="test")
