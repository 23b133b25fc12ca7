"""A whole graph in integers, as its target wants them, every weighted operator accounted for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from mmedge.graph.provenance import MODULE_PATH
from mmedge.quantize import dynamic_lstm, dynamic_product, static_qdq
from mmedge.quantize.account import KEPT, Treated
from mmedge.quantize.calibrate import observe
from mmedge.quantize.matrix_weights import Product, product_of
from mmedge.quantize.number_formats import FORMATS
from mmedge.quantize.scheme import Scheme
from mmedge.quantize.static_qdq import StaticScheme
from mmedge.targets import QuantizationSettings
from mmedge.tensors import Array

CONVOLUTIONS, PRODUCTS = ("Conv", "ConvTranspose"), ("MatMul", "Gemm")
RECURRENT = ("LSTM", "GRU", "RNN")
FLOAT = "the target keeps its kind in float"
LEFT_OUT = "left out by the search"


def quantize_graph(
    model: ir.Model,
    settings: QuantizationSettings,
    *,
    file: Path,
    feeds: Sequence[Mapping[str, Array]],
    only: Collection[str] | None = None,
) -> list[Treated]:
    """Quantize `model` in place; one entry for each weighted operator, in the graph's order.

    file: of the same graph, in float, for calibration; feeds: its inputs, for each run.
    only: names of the nodes that may be quantized; None for all. Nodes must have unique names.
    Raises DataError where a static scheme has nothing to calibrate with.
    """
    order = [str(node.name) for node in model.graph]
    done = {t.node: t for t in _static(model, settings, file, feeds, only)}
    done |= {t.node: t for t in _dynamic(model, settings, only, done)}
    RemoveUnusedNodesPass()(model)
    return [done[name] for name in order if name in done]


def name_nodes(model: ir.Model) -> None:
    """Give every node of the main graph a name of its own: that of its first output, if need be."""
    taken: set[str] = set()
    for node in model.graph:
        if not node.name or node.name in taken:
            node.name = str(node.outputs[0].name)
        taken.add(node.name)


def _static(
    model: ir.Model,
    settings: QuantizationSettings,
    file: Path,
    feeds: Sequence[Mapping[str, Array]],
    only: Collection[str] | None,
) -> list[Treated]:
    operators = CONVOLUTIONS * (settings.convolutions == "static")
    operators += PRODUCTS * (settings.products == "static")
    placement = static_qdq.plan(model, carriers=settings.joins, operators=operators, only=only)
    left = [_kept(node, why) for node, why in placement.refused.items()]
    if not placement.nodes:
        return left
    activations = Scheme(FORMATS[settings.activations], symmetric=settings.activations == "int8")
    seen = observe(file, list(placement.values), feeds)
    integer_biases = settings.biases == "int32"
    scheme = StaticScheme(activations, settings.observer, integer_biases=integer_biases)
    return left + static_qdq.apply(model, placement, seen, scheme)


def _dynamic(
    model: ir.Model,
    settings: QuantizationSettings,
    only: Collection[str] | None,
    done: Mapping[str, Treated],
) -> list[Treated]:
    """What needs no calibration, and why the rest stays."""
    found = []
    for node in list(model.graph):
        if str(node.name) in done or node.domain != "":
            continue
        if node.op_type in (*CONVOLUTIONS, *PRODUCTS, *RECURRENT):
            allowed = only is None or str(node.name) in only
            treated = _one(model, node, settings) if allowed else _kept(node, LEFT_OUT)
            found += [] if treated is None else [treated]
    return found


def _one(model: ir.Model, node: ir.Node, settings: QuantizationSettings) -> Treated | None:
    """None for a product that has no weights at all, as within attention."""
    module = _module(node)
    if node.op_type in PRODUCTS:
        product = product_of(node)
        if isinstance(product, str):
            return _kept(node, product)
        if settings.products != "dynamic" or not isinstance(product, Product):
            return _kept(node, FLOAT)
        return dynamic_product.quantize_product(model, product, module=module)
    if node.op_type == "LSTM" and settings.recurrent == "dynamic":
        why = dynamic_lstm.refusal(node)
        if why is None:
            return dynamic_lstm.quantize_lstm(model, node, module=module)
        return _kept(node, why)
    if node.op_type in RECURRENT and settings.recurrent == "dynamic":
        return _kept(node, f"the library has no integer kernel of {node.op_type}")
    return _kept(node, FLOAT)


def _kept(node: ir.Node, why: str) -> Treated:
    return Treated(str(node.name), _module(node), node.op_type, KEPT, why)


def _module(node: ir.Node) -> str:
    return node.metadata_props.get(MODULE_PATH, "")
