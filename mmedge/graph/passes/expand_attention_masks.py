"""Give attention masks the query axis that ONNX Runtime wants spelled out."""

from __future__ import annotations

import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome

# Inputs of Attention (opset 23).
QUERY, MASK = 0, 3


class ExpandAttentionMasks(GraphPass):
    """Expand the mask of an Attention node along its query axis where it has size 1.

    ONNX lets a mask [..., 1, keys] broadcast over the queries; ONNX Runtime (seen in 1.31, CPU)
    refuses it at run time, so that every `src_key_padding_mask` of nn.Transformer would fail.

    1. The mask becomes Expand(mask, [.., queries, 1]), with `queries` read from the query.
    2. A mask of rank 1, or whose query axis is not known to be 1, is left; so is every mask where
       the query's length is known to be 1.
    3. A mask shared by several nodes is expanded once for each.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Rewrite in place."""
        found = [
            node for graph in model.graphs() for node in graph if _broadcasts_over_queries(node)
        ]
        for node in found:
            _expand(node)
        masks = "mask" if len(found) == 1 else "masks"
        return Outcome(model, bool(found), [f"expanded {len(found)} {masks}"] if found else [])


def _broadcasts_over_queries(node: ir.Node) -> bool:
    if node.op_type != "Attention" or node.domain != "" or len(node.inputs) <= MASK:
        return False
    query, mask = node.inputs[QUERY], node.inputs[MASK]
    if query is None or query.shape is None or mask is None or mask.shape is None:
        return False
    return len(mask.shape) >= 2 and mask.shape[-2] == 1 and query.shape[_query_axis(query)] != 1


def _query_axis(query: ir.Value) -> int:
    """Queries are [batch, heads, queries, size] or [batch, queries, hidden]."""
    assert query.shape is not None
    return len(query.shape) - 2


def _expand(node: ir.Node) -> None:
    query, mask = node.inputs[QUERY], node.inputs[MASK]
    assert query is not None
    assert mask is not None
    assert mask.shape is not None
    assert node.graph is not None
    axis = _query_axis(query)
    queries = ir.node("Shape", [query], {"start": axis, "end": axis + 1})
    one = ir.node("Constant", [], {"value": ir.tensor([1], dtype=ir.DataType.INT64)})
    target = ir.node("Concat", [queries.outputs[0], one.outputs[0]], {"axis": 0})
    expanded = ir.node("Expand", [mask, target.outputs[0]])
    expanded.outputs[0].type = mask.type
    assert query.shape is not None
    expanded.outputs[0].shape = ir.Shape([*mask.shape[:-2], query.shape[axis], mask.shape[-1]])
    node.graph.insert_before(node, [queries, one, target, expanded])
    node.replace_input_with(MASK, expanded.outputs[0])
