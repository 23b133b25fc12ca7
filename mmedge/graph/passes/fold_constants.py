"""Compute at compile time what does not depend on the inputs."""

from __future__ import annotations

import math

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from mmedge.graph.passes.base import (
    GraphPass,
    Outcome,
    count_nodes,
    describe_counts,
    initializer_bytes,
)

# One fold may store this much more than it frees: room for shapes, masks and scales.
MAX_GROWTH_BYTES = 1024

# Cheap and exact in onnx's reference implementation, so folded however large the weights are.
# The others are folded only up to onnxscript's limit of 8192 elements per input.
_CHEAP = frozenset(
    {
        "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Exp", "Expand", "Flatten", "Gather",
        "Mul", "Neg", "Reciprocal", "Reshape", "Slice", "Sqrt", "Squeeze", "Sub", "Transpose",
        "Unsqueeze", "Where",
    }
)  # fmt: skip


class FoldConstants(GraphPass):
    """Replace nodes whose inputs are all constant by an initializer with their value.

    Also replaced: Shape and Size of values whose shape is static, If with a constant condition
    (its branch is inlined), and nodes that symbolic shapes prove to be the identity.

    1. A fold that would store over 1 KiB more than it frees does not happen, so that Expand,
       ConstantOfShape, Cast or Transpose of a weight that is used elsewhere never grow the file.
       A weight that is only cut into slices is freed by them together.
    2. Random operators, QuantizeLinear and DequantizeLinear are kept.
    3. Values that are graph outputs stay computed by a node.

    The work is onnxscript's fold_constants; the bound is ours.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Fold in place. Not idempotent in one step: a fold may enable another."""
        from onnxscript.optimizer import fold_constants

        before, bytes_before = count_nodes(model), initializer_bytes(model)
        modified = fold_constants(
            model,
            onnx_shape_inference=True,
            # The bound is _within_budget's, in bytes, not onnxscript's in elements.
            output_size_limit=2**62,
            should_fold=_within_budget,
        ).modified
        modified = RemoveUnusedNodesPass()(model).modified or modified
        if not modified:
            return Outcome(model, False)
        folded = describe_counts(before - count_nodes(model))
        grown = initializer_bytes(model) - bytes_before
        what = [f"folded {folded}; weights changed by {grown:+,} bytes"] if folded else []
        return Outcome(model, True, what or ["rewired nodes"])


def _within_budget(node: ir.Node) -> bool | None:
    """Whether to fold `node`, whose inputs are constant; None leaves it to onnxscript."""
    if any(value.is_graph_output() for value in node.outputs):
        return False
    growth = _growth_bytes(node)
    if growth is None or growth > MAX_GROWTH_BYTES:
        return False
    return True if node.op_type in _CHEAP and node.domain == "" else None


def _growth_bytes(node: ir.Node) -> int | None:
    """Bytes of the result minus those of the constants that only `node` uses."""
    stored = _stored_bytes(node)
    if stored is None:
        return None
    if _is_part_of_a_division(node):
        return 0
    freed = {value: _freed_bytes(value, node) for value in node.inputs if value is not None}
    return stored - sum(freed.values())


def _stored_bytes(node: ir.Node) -> int | None:
    result = node.outputs[0]
    if result.shape is None or result.dtype is None or not result.shape.is_static():
        return None
    return math.prod(result.shape.numpy()) * result.dtype.bitwidth // 8


def _is_part_of_a_division(node: ir.Node) -> bool:
    """Whether `node` cuts a slice out of a constant of which only such slices are used, together
    no more than it holds: the gates of a recurrent layer, in another order.
    """
    whole = node.inputs[0] if node.op_type == "Slice" and node.domain == "" else None
    tensor = None if whole is None else ir.convenience.get_const_tensor(whole)
    if whole is None or tensor is None or whole.is_graph_output():
        return False
    users = [user for user, _ in whole.uses()]
    if not all(user.op_type == "Slice" and user.inputs[0] is whole for user in users):
        return False
    sizes = [_stored_bytes(user) for user in users if not user.outputs[0].is_graph_output()]
    known = [size for size in sizes if size is not None]
    return len(known) == len(users) and sum(known) <= tensor.nbytes


def _freed_bytes(value: ir.Value, node: ir.Node) -> int:
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None or value.is_graph_output():
        return 0
    return tensor.nbytes if all(user is node for user, _ in value.uses()) else 0
