"""Operators that stay in float32 wherever they are, and why."""

from __future__ import annotations

import onnx_ir as ir

from mmedge.graph.precision.operator_types import is_float32

NORM = "a normalization sums squares and divides by their root"
SUM = "a sum of many numbers loses the small ones"
GROWS = "its results leave the range, or its inputs need more digits"
POSITION = "places and angles need more digits than a narrow format has"
QUANTIZED = "a scale belongs to its integers"

KEPT: dict[str, str] = {
    **dict.fromkeys(
        (
            "LayerNormalization",
            "RMSNormalization",
            "GroupNormalization",
            "InstanceNormalization",
            "BatchNormalization",
            "MeanVarianceNormalization",
            "LpNormalization",
            "LRN",
            "Softmax",
            "LogSoftmax",
            "Hardmax",
        ),
        NORM,
    ),
    **dict.fromkeys(
        (
            "ReduceSum",
            "ReduceMean",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceProd",
            "GlobalAveragePool",
            "GlobalLpPool",
            "LpPool",
            "CumSum",
            "CumProd",
            "Sum",
            "Mean",
        ),
        SUM,
    ),
    **dict.fromkeys(
        (
            "Exp",
            "Log",
            "Pow",
            "Sqrt",
            "Reciprocal",
            "Softplus",
            "Sinh",
            "Cosh",
            "Tan",
            "Det",
            "DFT",
            "STFT",
            "MelWeightMatrix",
        ),
        GROWS,
    ),
    **dict.fromkeys(
        (
            "Sin",
            "Cos",
            "Asin",
            "Acos",
            "Atan",
            "Range",
            "GridSample",
            "AffineGrid",
            "RoiAlign",
            "NonMaxSuppression",
            "DeformConv",
        ),
        POSITION,
    ),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"), QUANTIZED),
}

DIVIDES = "divides by a number computed here, which may be too small for the format"
SCALES = "multiplies by a reciprocal computed here, which may leave the range"


def reason_by_operator(node: ir.Node) -> str | None:
    """Why the node stays in float32 whatever its neighbours are, or None."""
    if node.op_type in KEPT:
        return KEPT[node.op_type]
    if node.op_type == "Div" and _computed(node.inputs[1]):
        return DIVIDES
    if node.op_type == "Mul" and any(_is_reciprocal(value) for value in node.inputs):
        return SCALES
    return None


def positional(graph: ir.Graph) -> set[ir.Node]:
    """Nodes that compute with nothing but integers made into floats, and constants.

    They are positions and what follows from them: angles, distances, buckets, time steps. It ends
    where they become sines and cosines, which are small.
    """
    found: set[ir.Node] = set()
    for node in graph:
        if not any(is_float32(value) for value in node.outputs):
            continue
        if node.op_type in ("Cast", "Range"):
            if _from_integers(node) or _follows(node, found):
                found.add(node)
        elif node.op_type not in ("Sin", "Cos") and _follows(node, found):
            found.add(node)
    return found


def _from_integers(node: ir.Node) -> bool:
    dtypes = [value.dtype for value in node.inputs if value is not None]
    if node.op_type == "Range":
        return True
    return all(d is not None and d.is_integer() for d in dtypes)


def _follows(node: ir.Node, found: set[ir.Node]) -> bool:
    """Whether all that the node computes with is positional, and something is."""
    given = [v for v in node.inputs if is_float32(v) and _computed(v)]
    return bool(given) and all(value.producer() in found for value in given if value is not None)


def _is_reciprocal(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    if node is None:
        return False
    if node.op_type == "Div":
        return not _computed(node.inputs[0]) and _computed(node.inputs[1])
    return node.op_type == "Reciprocal"


def _computed(value: ir.Value | None) -> bool:
    """Whether the value is known only when the graph runs."""
    return value is not None and ir.convenience.get_const_tensor(value) is None
