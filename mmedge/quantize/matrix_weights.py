"""Products with constant matrices: MatMul and Gemm, seen as `x @ weight + bias`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mmedge.graph.passes.rewiring import constant
from mmedge.tensors import Array

X, WEIGHT, BIAS = 0, 1, 2


@dataclass(frozen=True)
class Product:
    """`node`'s output is `x @ weight + bias`: weight float32 [inputs, outputs].

    source: the value that holds the weight in the graph, perhaps transposed there.
    """

    node: ir.Node
    x: ir.Value
    weight: Array
    bias: ir.Value | None
    source: ir.Value


def product_of(node: ir.Node) -> Product | str | None:
    """The product that `node` is; a sentence where it is one that no scheme takes; else None."""
    if node.domain != "" or node.op_type not in ("MatMul", "Gemm"):
        return None
    x, source = node.inputs[X], node.inputs[WEIGHT]
    assert x is not None
    assert source is not None
    weight, owner = _matrix(source)
    if weight is None or owner is None:
        return "both of its factors are computed" if node.op_type == "MatMul" else "no constant"
    if weight.dtype != np.float32:
        return f"its weight is {weight.dtype}"
    if weight.ndim != 2:
        return f"its weight has {weight.ndim} axes, not 2"
    if node.op_type == "MatMul":
        return Product(node, x, weight, None, owner)
    return _gemm(node, x, weight, owner)


def _gemm(node: ir.Node, x: ir.Value, weight: Array, owner: ir.Value) -> Product | str:
    factors = {name: _attribute(node, name, 1.0) for name in ("alpha", "beta")}
    if factors != {"alpha": 1.0, "beta": 1.0} or _attribute(node, "transA", 0):
        return f"Gemm with {factors} and a transposed input is not a plain product"
    bias = node.inputs[BIAS] if len(node.inputs) > BIAS else None
    transposed = bool(_attribute(node, "transB", 0))
    return Product(node, x, weight.T if transposed else weight, bias, owner)


def _matrix(value: ir.Value) -> tuple[Array | None, ir.Value | None]:
    """The constant that `value` is, seen through a Transpose: tied heads are written so."""
    found = constant(value)
    if found is not None:
        return found, value
    producer = value.producer()
    if producer is None or (producer.op_type, producer.domain) != ("Transpose", ""):
        return None, None
    source = producer.inputs[0]
    inner = constant(source)
    if inner is None:
        return None, None
    order = producer.attributes.get("perm")
    return np.transpose(inner, None if order is None else order.as_ints()), source


def _attribute(node: ir.Node, name: str, default: float) -> float:
    found = node.attributes.get(name)
    return default if found is None else float(found.value)
