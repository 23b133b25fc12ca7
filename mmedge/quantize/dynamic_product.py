"""Products in 8-bit integers, activations quantized as they come: no calibration is needed."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from mmedge.quantize.account import Treated, sqnr_db
from mmedge.quantize.editing import Replacement
from mmedge.quantize.matrix_weights import Product
from mmedge.quantize.number_formats import INT8
from mmedge.quantize.scheme import Parameters, Scheme, dequantize, limits, parameters, quantize

NAME = "dynamic-int8"
PER_OUTPUT = Scheme(INT8, symmetric=True, axis=1)


def quantize_product(model: ir.Model, product: Product, *, module: str) -> Treated:
    """`x @ w + b` as DynamicQuantizeLinear, MatMulInteger, Cast, Mul, Add, in place.

    Activations are uint8 with one scale for the tensor, found as the graph runs; weights int8
    with one scale for each output. ONNX Runtime fuses the five into one kernel. Products of the
    same x share its quantization.
    """
    edit, node = Replacement(model, product.node), product.node
    by = weight_parameters(product)
    stored = quantize(product.weight, by)
    stem = f"{product.source.name}.int8"
    weight = edit.constant(np.ascontiguousarray(stored), stem)
    scale = edit.constant(by.scale, f"{stem}.scale")
    zero = edit.constant(np.zeros((), np.int8), "mmedge.int8_zero")
    x, x_scale, x_zero = _quantized(edit, product.x)
    (sums,) = edit.add("MatMulInteger", x, weight, x_zero, zero, dtype=ir.DataType.INT32)
    (real,) = edit.add("Cast", sums, to=int(ir.DataType.FLOAT), dtype=ir.DataType.FLOAT)
    (scales,) = edit.add("Mul", x_scale, scale, dtype=ir.DataType.FLOAT)
    (found,) = edit.add("Mul", real, scales, dtype=ir.DataType.FLOAT)
    if product.bias is not None:
        (found,) = edit.add("Add", found, product.bias, dtype=ir.DataType.FLOAT)
    name, operator = str(node.name), node.op_type
    edit.finish(found)
    return Treated(
        node=name,
        module=module,
        operator=operator,
        treatment=NAME,
        why="uint8 activations scaled as they come, int8 weights with a scale for each output",
        weight_sqnr_db=sqnr_db(product.weight, dequantize(stored, by)),
        saved_bytes=product.weight.nbytes - stored.nbytes - by.scale.nbytes,
    )


def weight_parameters(product: Product) -> Parameters:
    """One symmetric int8 scale for each output of the product."""
    return parameters(*limits(product.weight, PER_OUTPUT), PER_OUTPUT)


def _quantized(edit: Replacement, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """uint8 x, its scale and its zero point; those of an earlier product where there is one."""
    for user, _ in x.uses():
        if user.op_type == "DynamicQuantizeLinear" and user.domain == "":
            stored, scale, zero = user.outputs
            return stored, scale, zero
    stored, scale, zero = edit.add("DynamicQuantizeLinear", x, outputs=3, like=x)
    stored.dtype, scale.dtype, zero.dtype = ir.DataType.UINT8, ir.DataType.FLOAT, ir.DataType.UINT8
    scale.shape, zero.shape = ir.Shape([]), ir.Shape([])
    return stored, scale, zero
