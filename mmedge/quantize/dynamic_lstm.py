"""LSTM in 8-bit integers: its weights are stored so, its activations quantized as they come."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from mmedge.graph.passes.rewiring import constant
from mmedge.quantize.account import Treated, sqnr_db
from mmedge.quantize.editing import CONTRIB, Replacement
from mmedge.quantize.number_formats import INT8
from mmedge.quantize.scheme import Scheme, dequantize, limits, parameters, quantize
from mmedge.tensors import Array

NAME = "dynamic-int8"
X, W, R, SEQUENCE_LENGTHS = 0, 1, 2, 4
INPUTS = 8  # X, W, R, B, sequence_lens, initial_h, initial_c, P
PER_GATE = Scheme(INT8, symmetric=True, axis=1)


def refusal(node: ir.Node) -> str | None:
    """Why an LSTM cannot be quantized; None where it can."""
    for place, name in ((W, "input"), (R, "recurrent")):
        found = constant(node.inputs[place])
        if found is None:
            return f"its {name} weights are computed"
        if found.dtype != np.float32:
            return f"its {name} weights are {found.dtype}"
    layout = node.attributes.get("layout")
    if layout is not None and layout.as_int() != 0:
        return "its layout has the batch first, which the integer kernel lacks"
    return None


def quantize_lstm(model: ir.Model, node: ir.Node, *, module: str) -> Treated:
    """LSTM as com.microsoft DynamicQuantizeLSTM, in place; `refusal` must have said None.

    W [directions, 4 h, inputs] and R [directions, 4 h, h] become int8 [directions, inputs, 4 h]
    and [directions, h, 4 h], with a scale for each row of the four gates.
    """
    edit = Replacement(model, node)
    given = [*node.inputs, *[None] * (INPUTS - len(node.inputs))]
    errors, saved, extra = [], 0, []
    for place in (W, R):
        weight = constant(given[place])
        assert weight is not None
        assert given[place] is not None
        stem = f"{given[place].name}.int8"  # type: ignore[union-attr]
        stored, scale, back = _by_gate(weight)
        errors.append(sqnr_db(weight, back))
        saved += weight.nbytes - stored.nbytes - scale.nbytes
        given[place] = edit.constant(stored, stem)
        zero = edit.constant(np.zeros_like(scale, np.int8), f"{stem}.zero")
        extra += [edit.constant(scale, f"{stem}.scale"), zero]
    attributes = {k: a for k, a in node.attributes.items() if k != "layout"}
    found = edit.add(
        "DynamicQuantizeLSTM",
        *given,
        *extra,
        outputs=len(node.outputs),
        domain=CONTRIB,
        attributes=attributes,
    )
    name = str(node.name)
    edit.finish(*found)
    return Treated(
        node=name,
        module=module,
        operator="LSTM",
        treatment=NAME,
        why="int8 input and recurrent weights with a scale for each row of a gate",
        weight_sqnr_db=min(errors),
        saved_bytes=saved,
    )


def _by_gate(weight: Array) -> tuple[Array, Array, Array]:
    """[directions, rows, inputs] -> int8 [directions, inputs, rows], scales [directions, rows],
    and what the integers stand for, as the weight was laid out.
    """
    stored, scales, back = [], [], []
    for one in weight:
        transposed = one.T
        by = parameters(*limits(transposed, PER_GATE), PER_GATE)
        codes = quantize(transposed, by)
        stored.append(codes)
        scales.append(by.scale)
        back.append(dequantize(codes, by).T)
    return np.ascontiguousarray(np.stack(stored)), np.stack(scales), np.stack(back)
