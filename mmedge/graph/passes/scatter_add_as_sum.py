"""Add by comparing places, where an engine cannot add by writing to them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome
from mmedge.graph.passes.rewiring import same_shape

# Inputs of ScatterElements; updates come after them.
DATA, PLACES = 0, 1


class ScatterAddAsSum(GraphPass):
    """Replace ScatterElements with reduction "add" by a sum over the updates that fall on a place.

    TensorRT has no such reduction but by a plugin, which TensorRT for RTX lacks.

    1. The result is data + the sum over j of (updates[j] where places[j] is the place, else 0),
       along the axis; integers are exact, floats are added in another order.
    2. Negative places count from the end, as ONNX has them.
    3. It compares every place with every update: no larger than a mask of attention among them.
    4. Left are nodes whose places are not known to be as many as the data's on the other axes.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Rewrite in place; `what` counts what was replaced and what was left."""
        found = [node for graph in model.graphs() for node in graph if _adds(node)]
        fitting = [node for node in found if _fits(node)]
        for node in fitting:
            _replace(node)
        what = [f"summed {len(fitting)} ScatterElements"] * bool(fitting)
        left = len(found) - len(fitting)
        what += [f"left {left} ScatterElements: its sizes are not known"] * bool(left)
        return Outcome(model, bool(fitting), what)


def _adds(node: ir.Node) -> bool:
    return (
        node.op_type == "ScatterElements"
        and node.domain == ""
        and node.attributes.get_string("reduction", "none") == "add"
    )


def _fits(node: ir.Node) -> bool:
    """Whether places and data have the same sizes on every axis but the one that is scattered."""
    data, places = node.inputs[DATA], node.inputs[PLACES]
    if data is None or data.shape is None or places is None or places.shape is None:
        return False
    axis = _axis(node)
    others = [[d for i, d in enumerate(s) if i != axis] for s in (data.shape, places.shape)]
    return data.dtype is not None and same_shape(*map(ir.Shape, others))


def _axis(node: ir.Node) -> int:
    data = node.inputs[DATA]
    assert data is not None
    assert data.shape is not None
    axis: int = node.attributes.get_int("axis", 0)
    return axis % len(data.shape)


def _replace(node: ir.Node) -> None:
    data, places, updates = node.inputs
    assert data is not None
    assert data.shape is not None
    assert node.graph is not None
    axis, rank = _axis(node), len(data.shape)
    # Places to write to lie on `axis`, updates on the axis after it.
    step = _Steps()
    size = step("Shape", data, start=axis, end=axis + 1)
    from_start = step(
        "Where",
        step("Less", places, step.constant(np.int64(0))),
        step("Add", places, size),
        places,
    )
    count = step("Squeeze", size, step.constant(np.array([0])))
    every = step("Range", step.constant(np.int64(0)), count, step.constant(np.int64(1)))
    others = [i for i in range(rank + 1) if i != axis]
    every = step("Unsqueeze", every, step.constant(np.array(others))) if others else every
    at = step.constant(np.array([axis]))
    hits = step("Equal", step("Unsqueeze", from_start, at), every)
    assert data.dtype is not None
    nothing = step.constant(np.zeros((), data.dtype.numpy()))
    kept = step("Where", hits, step("Unsqueeze", updates, at), nothing)
    summed = step("ReduceSum", kept, step.constant(np.array([axis + 1])), keepdims=0)
    result = step("Add", data, summed)
    old = node.outputs[0]
    result.type, result.shape, result.name = old.type, old.shape, old.name
    old.name = None
    node.graph.insert_before(node, step.nodes)
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)


class _Steps:
    """Nodes in order, made one by one; each call gives the value that the new node computes."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []

    def __call__(
        self, operator: str, *inputs: ir.Value | None, **attributes: int | ir.TensorProtocol
    ) -> ir.Value:
        node = ir.node(operator, inputs, attributes)
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, array: np.generic | np.ndarray) -> ir.Value:
        return self("Constant", value=ir.tensor(np.asarray(array)))
