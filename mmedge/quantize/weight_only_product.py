"""Weights in blocks of 4 or 8 bits, computed in float: what memory-bound decoding wants."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from mmedge.quantize.account import Treated, sqnr_db
from mmedge.quantize.editing import CONTRIB, Replacement
from mmedge.quantize.matrix_weights import Product
from mmedge.quantize.number_formats import UINT4, UINT8
from mmedge.quantize.scheme import Scheme, dequantize, limits, parameters, quantize
from mmedge.tensors import Array

# MatMulNBits: "accuracy_level", 4 lets its kernel round activations to int8 by block.
INT8_ACTIVATIONS = 4
BITS = {4: UINT4, 8: UINT8}


def quantize_weights(
    model: ir.Model, product: Product, *, module: str, bits: int, block: int
) -> Treated:
    """`x @ w + b` as com.microsoft MatMulNBits, in place.

    Weights are stored as [outputs, blocks, block * bits / 8] with a scale for each block of
    inputs, around the middle of the unsigned format. bits: 4 or 8; block: 16 or more, a power of
    two.
    """
    node, weight = product.node, product.weight.T
    outputs, inputs = weight.shape
    blocks = -(-inputs // block)
    padded = np.zeros((outputs, blocks * block), np.float32)
    padded[:, :inputs] = weight
    scheme = Scheme(BITS[bits], symmetric=True, axis=1, block=block)
    by = parameters(*limits(padded, scheme), scheme)
    stored = quantize(padded, by)
    error = sqnr_db(weight, dequantize(stored, by)[:, :inputs])
    edit = Replacement(model, node)
    stem = f"{product.source.name}.uint{bits}"
    packed = edit.constant(_packed(stored.reshape(outputs, blocks, block), bits), stem)
    scale = edit.constant(np.ascontiguousarray(by.scale), f"{stem}.scale")
    (found,) = edit.add(
        "MatMulNBits",
        product.x,
        packed,
        scale,
        domain=CONTRIB,
        dtype=ir.DataType.FLOAT,
        K=inputs,
        N=outputs,
        bits=bits,
        block_size=block,
        accuracy_level=INT8_ACTIVATIONS,
    )
    if product.bias is not None:
        (found,) = edit.add("Add", found, product.bias, dtype=ir.DataType.FLOAT)
    name, operator = str(node.name), node.op_type
    saved = product.weight.nbytes - packed.const_value.nbytes - by.scale.nbytes  # type: ignore[union-attr]
    edit.finish(found)
    return Treated(
        node=name,
        module=module,
        operator=operator,
        treatment=f"int{bits}-weights",
        why=f"weights of {bits} bits in blocks of {block}, computed in float",
        weight_sqnr_db=error,
        saved_bytes=saved,
    )


def _packed(stored: Array, bits: int) -> Array:
    """[outputs, blocks, block] codes as bytes; of two 4-bit codes the first is the low half."""
    if bits == 8:
        return np.ascontiguousarray(stored)
    return np.ascontiguousarray(stored[..., 0::2] | (stored[..., 1::2] << 4))
