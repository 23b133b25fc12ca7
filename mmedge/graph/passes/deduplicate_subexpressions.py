"""Compute equal expressions once."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass

from mmedge.graph.passes.base import GraphPass, Outcome, count_nodes, describe_counts
from mmedge.graph.passes.rewiring import constant
from mmedge.graph.provenance import all_nodes

_RANDOM = frozenset(
    {
        "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
        "RandomUniformLike",
    }
)  # fmt: skip


class DeduplicateSubexpressions(GraphPass):
    """Merge nodes of the main graph with the same operator, attributes and inputs.

    1. The first node stays, with its module path; the others' uses move to it.
    2. Nodes with subgraphs, and Constant nodes of more than 10 elements, are left.
    3. A graph with random operators is left whole: onnx_ir's pass, which does the work, would
       merge two Bernoulli or two training Dropouts into one draw.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Merge in place."""
        if any(map(_is_random, all_nodes(model))):
            return Outcome(model, False)
        before = count_nodes(model)
        modified = CommonSubexpressionEliminationPass()(model).modified
        merged = describe_counts(before - count_nodes(model))
        return Outcome(model, modified, [f"merged {merged or 'outputs'}"] * modified)


def _is_random(node: ir.Node) -> bool:
    if node.op_type != "Dropout":
        return node.op_type in _RANDOM
    training = node.inputs[2] if len(node.inputs) > 2 else None
    value = constant(training)
    return training is not None and (value is None or bool(value.any()))
