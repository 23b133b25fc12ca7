"""Remove nodes that return their input unchanged."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome, describe_counts
from mmedge.graph.passes.no_ops import composed, equal_input, permutation
from mmedge.graph.passes.rewiring import constant, substitute
from mmedge.graph.provenance import all_nodes


class RemoveNoOps(GraphPass):
    """Let the input stand for the output of every node that changes nothing.

    1. Always: Identity, Concat of one tensor, Transpose that keeps the order, Dropout outside
       training whose mask is unused, Pad by zero, Slice of everything.
    2. Cast and CastLike to the type that the input has.
    3. Reshape and Expand to the shape that the input has: by constant, or because both declared
       shapes have the same numbers and axis names. An unknown size is never taken as equal.
    4. Add or Sub of 0 and Mul or Div by 1, where the constant does not broadcast the input.
    5. Transpose of Transpose: removed if they cancel, else merged if nothing else uses the first.
       Reshape of Reshape: merged if nothing else uses the first and the second copies no size
       from its input.

    A graph output keeps its name: the value that stands for it is renamed. Where that is
    impossible (it is a graph input, an initializer, an outer value or another output) the node
    stays. (onnx_ir's IdentityElimination renames the other output in that case.)
    """

    def call(self, model: ir.Model) -> Outcome:
        """Remove and merge in place, in one walk in graph order."""
        removed: Counter[str] = Counter()
        merged: Counter[str] = Counter()
        for node in list(all_nodes(model)):
            if node.domain != "" or not node.inputs or node.inputs[0] is None:
                continue
            same = equal_input(node)
            if same is not None and substitute(node.outputs[0], same):
                removed[node.op_type] += 1
            elif same is None and _merge_with_producer(node):
                merged[node.op_type] += 1
        what = [f"removed {describe_counts(removed)}"] * bool(removed)
        what += [f"merged {describe_counts(merged)} into the one before"] * bool(merged)
        return Outcome(model, bool(what), what)


def _merge_with_producer(node: ir.Node) -> bool:
    """Let a Transpose or Reshape read the input of the one before it."""
    value = node.inputs[0]
    inner = value.producer() if value is not None else None
    if value is None or inner is None or inner.op_type != node.op_type or inner.domain != "":
        return False
    if len(value.uses()) != 1 or value.is_graph_output() or inner.graph is None:
        return False
    if node.op_type == "Transpose":
        combined = composed(inner, permutation(node))
        if combined is None:
            return False
        node.attributes["perm"] = ir.AttrInt64s("perm", combined)
    elif node.op_type != "Reshape" or not _copies_no_size(node):
        return False
    node.replace_input_with(0, inner.inputs[0])
    inner.graph.remove(inner, safe=True)
    return True


def _copies_no_size(reshape: ir.Node) -> bool:
    """Whether the result depends on the elements of the input alone, not on its shape."""
    if reshape.attributes.get_int("allowzero", 0) == 1:
        return True
    target = constant(reshape.inputs[1])
    return target is not None and bool((target != 0).all())
