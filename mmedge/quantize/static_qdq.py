"""Q/DQ pairs around operators that then run in 8-bit integers, scales found by calibration.

The form that ONNX Runtime's and TensorRT's optimisers look for: every activation that a chosen
operator reads or gives is QuantizeLinear -> DequantizeLinear, its weights are int8 behind a
DequantizeLinear, its bias int32. The graph still computes in float as it stands, so that it runs
anywhere; a runtime with integer kernels merges the pairs into them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from mmedge.graph.passes.rewiring import constant
from mmedge.graph.provenance import MODULE_PATH
from mmedge.quantize.account import Treated, sqnr_db
from mmedge.quantize.editing import Replacement
from mmedge.quantize.histogram import Histogram
from mmedge.quantize.number_formats import INT8
from mmedge.quantize.observers import OBSERVERS
from mmedge.quantize.scheme import (
    Parameters,
    Scheme,
    dequantize,
    limits,
    parameters,
    quantize,
)

NAME = "static-int8"
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Without weights: worth it only between operators that are quantized, where they save a round trip.
CARRIERS = ("Add", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Relu", "Clip")
# What integer kernels do as part of the operator before: their output is the one that is rounded.
ABSORBED = ("Relu", "Clip")
X, WEIGHT, BIAS = 0, 1, 2
BIAS_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class StaticScheme:
    """How activations and weights are stored.

    activations: without an axis. observer: its name, of `observers.OBSERVERS`.
    weights_per_channel: a scale for each output channel, or one for the tensor.
    integer_biases: int32 with the scale of the sums; else they stay in float.
    """

    activations: Scheme
    observer: str = "mse"
    weights_per_channel: bool = True
    integer_biases: bool = True


@dataclass
class Placement:
    """The nodes that are quantized and the values that get pairs."""

    nodes: list[ir.Node] = field(default_factory=list)
    values: dict[str, ir.Value] = field(default_factory=dict)
    refused: dict[ir.Node, str] = field(default_factory=dict)


def plan(
    model: ir.Model,
    *,
    carriers: bool,
    operators: Collection[str] = WEIGHTED,
    only: Collection[str] | None = None,
) -> Placement:
    """What of a graph is quantized: operators with constant weights, and what joins them.

    carriers: also operators without weights whose inputs all come from quantized ones, where the
    target computes them in integers. operators: of WEIGHTED, those that are looked at.
    only: names of nodes; None takes all.
    """
    placement, wanted = Placement(), None if only is None else set(only)
    for node in model.graph:
        if node.domain != "" or node.op_type not in operators:
            continue
        why = _refusal(node)
        if why is None and wanted is not None and str(node.name) not in wanted:
            why = "left out by the search"
        if why is None:
            placement.nodes.append(node)
        else:
            placement.refused[node] = why
    chosen = set(placement.nodes)
    if carriers:
        chosen |= _carriers(model, chosen)
    for node in (node for node in model.graph if node in chosen):
        for value in (*_activations(node), given_value(node)):
            placement.values[str(value.name)] = value
    return placement


def given_value(node: ir.Node) -> ir.Value:
    """What the integer kernel of `node` gives: the output of an activation function behind it."""
    out = node.outputs[0]
    while not out.is_graph_output() and len(out.uses()) == 1:
        (after,) = out.consumers()
        if after.domain != "" or after.op_type not in ABSORBED:
            break
        out = after.outputs[0]
    return out


def apply(
    model: ir.Model,
    placement: Placement,
    seen: Mapping[str, Histogram],
    scheme: StaticScheme,
) -> list[Treated]:
    """Put the pairs and the integer weights in place; what was done to each weighted operator.

    seen: the distribution of each of `placement.values`.
    """
    chosen = {
        name: parameters(
            *OBSERVERS[scheme.observer](seen[name], scheme.activations), scheme.activations
        )
        for name in placement.values
    }
    done = [_weights(model, node, chosen, scheme) for node in placement.nodes]
    for name, value in placement.values.items():
        _pair(model, value, chosen[name])
    return done


def _refusal(node: ir.Node) -> str | None:
    weight = constant(node.inputs[WEIGHT])
    if weight is None:
        return "its weights are computed"
    if weight.dtype != np.float32:
        return f"its weights are {weight.dtype}"
    bias = node.inputs[BIAS] if len(node.inputs) > BIAS else None
    if bias is not None and constant(bias) is None:
        return "its bias is computed"
    return None


def _activations(node: ir.Node) -> list[ir.Value]:
    inputs = node.inputs[:1] if node.op_type in WEIGHTED else node.inputs
    if node.op_type == "Clip":
        inputs = node.inputs[:1]
    return [value for value in inputs if value is not None and constant(value) is None]


def _carriers(model: ir.Model, weighted: set[ir.Node]) -> set[ir.Node]:
    """Operators all of whose activations come, through carriers alone, from quantized operators."""
    chosen: set[ir.Node] = set()
    made = {value for node in weighted for value in _with_absorbed(node)}
    for node in model.graph:
        if node.domain != "" or node.op_type not in CARRIERS or node.outputs[0] in made:
            continue
        inputs = [value for value in node.inputs if value is not None]
        activations = _activations(node)
        extra = 0 if node.op_type == "Clip" else len(inputs) - len(activations)
        if activations and not extra and all(value in made for value in activations):
            chosen.add(node)
            made.update(_with_absorbed(node))
    return chosen


def _with_absorbed(node: ir.Node) -> list[ir.Value]:
    return [node.outputs[0], given_value(node)]


def _weights(
    model: ir.Model, node: ir.Node, chosen: Mapping[str, Parameters], scheme: StaticScheme
) -> Treated:
    """Integer weights, and an integer bias, in front of `node`."""
    source = node.inputs[WEIGHT]
    weight = constant(source)
    assert weight is not None
    assert source is not None
    axis = _channel_axis(node) if scheme.weights_per_channel else None
    by_scheme = Scheme(INT8, symmetric=True, axis=axis)
    by = parameters(*limits(weight, by_scheme), by_scheme)
    stored = quantize(weight, by)
    edit = Replacement(model, node)
    stem = f"{source.name}.int8"
    given = [
        edit.constant(stored, stem),
        edit.constant(by.scale, f"{stem}.scale"),
        edit.constant(by.zero_point, f"{stem}.zero"),
    ]
    axes = {} if axis is None else {"axis": axis}
    (real,) = edit.add(
        "DequantizeLinear", *given, like=source, dtype=ir.DataType.FLOAT, attributes=axes
    )
    node.replace_input_with(WEIGHT, real)
    has_bias = len(node.inputs) > BIAS and node.inputs[BIAS] is not None
    if has_bias and scheme.integer_biases:
        x = node.inputs[X]
        assert x is not None
        _bias(edit, node, x_scale=chosen[str(x.name)].scale, weight_scale=by.scale)
    return Treated(
        node=str(node.name),
        module=node.metadata_props.get(MODULE_PATH, ""),
        operator=node.op_type,
        treatment=NAME,
        why=f"{scheme.activations.format.name} activations by {scheme.observer}, int8 weights "
        + ("with a scale for each channel" if axis is not None else "with one scale"),
        weight_sqnr_db=sqnr_db(weight, dequantize(stored, by)),
        saved_bytes=weight.nbytes - stored.nbytes - by.scale.nbytes,
    )


def _channel_axis(node: ir.Node) -> int:
    """The axis of the weight that runs over output channels."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        transposed = node.attributes.get("transB")
        return 0 if transposed is not None and transposed.as_int() else 1
    return 1


def _bias(
    edit: Replacement, node: ir.Node, *, x_scale: np.ndarray, weight_scale: np.ndarray
) -> None:
    """The bias in the integers of the sums: its scale is the product of the two others."""
    source = node.inputs[BIAS]
    bias = constant(source)
    assert bias is not None
    assert source is not None
    scale = (x_scale.astype(np.float64) * weight_scale).astype(np.float32)
    scale = np.broadcast_to(scale, bias.shape).copy()
    codes = np.rint(bias.astype(np.float64) / scale)
    if np.abs(codes).max(initial=0) > BIAS_LIMIT:
        return  # it would saturate; a float bias is added after the integer kernel instead
    stem = f"{node.outputs[0].name}.bias"
    (real,) = edit.add(
        "DequantizeLinear",
        edit.constant(codes.astype(np.int32), f"{stem}.int32"),
        edit.constant(scale, f"{stem}.scale"),
        edit.constant(np.zeros(scale.shape, np.int32), f"{stem}.zero"),
        like=source,
        dtype=ir.DataType.FLOAT,
        axis=0,
    )
    node.replace_input_with(BIAS, real)


def _pair(model: ir.Model, value: ir.Value, by: Parameters) -> None:
    """QuantizeLinear and DequantizeLinear behind `value`, for all who read it."""
    graph = model.graph
    users = list(value.uses())
    stem = f"{value.name}.quantized"
    scale, zero = (
        ir.Value(name=f"{stem}.{what}", const_value=ir.tensor(array, name=f"{stem}.{what}"))
        for what, array in (("scale", by.scale), ("zero", by.zero_point))
    )
    for constant_value in (scale, zero):
        tensor = constant_value.const_value
        assert tensor is not None
        constant_value.type, constant_value.shape = ir.TensorType(tensor.dtype), ir.Shape([])
        graph.register_initializer(constant_value)
    q = ir.node("QuantizeLinear", [value, scale, zero])
    dq = ir.node("DequantizeLinear", [q.outputs[0], scale, zero])
    for node, name in ((q, stem), (dq, f"{value.name}.rounded")):
        node.outputs[0].name, node.outputs[0].shape = name, value.shape
    q.outputs[0].dtype = ir.DataType.from_numpy(by.zero_point.dtype)
    dq.outputs[0].dtype = ir.DataType.FLOAT
    _insert_after(graph, value, [q, dq])
    for user, index in users:
        if user not in (q, dq):
            user.replace_input_with(index, dq.outputs[0])
    if value.is_graph_output():
        _keep_output_name(graph, value, dq.outputs[0])


def _insert_after(graph: ir.Graph, value: ir.Value, nodes: list[ir.Node]) -> None:
    producer = value.producer()
    for node in nodes:
        path = None if producer is None else producer.metadata_props.get(MODULE_PATH)
        if path is not None:
            node.metadata_props[MODULE_PATH] = path
    if producer is None:
        first = next(iter(graph))
        graph.insert_before(first, nodes)
    else:
        graph.insert_after(producer, nodes)


def _keep_output_name(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    place = graph.outputs.index(old)
    name = old.name
    old.name = f"{name}.exact"
    new.name = name
    graph.outputs[place] = new
