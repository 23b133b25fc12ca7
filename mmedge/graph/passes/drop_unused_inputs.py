"""Remove what nothing uses: nodes, initializers, functions and graph inputs."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass

from mmedge.graph.passes.base import GraphPass, Outcome, count_nodes, describe_counts


class DropUnusedInputs(GraphPass):
    """Remove nodes and initializers that no output depends on, then inputs that nothing uses.

    1. Nodes, optional node outputs and initializers without a use, and functions without a call,
       by onnx_ir's RemoveUnusedNodes and RemoveUnusedFunctions.
    2. Graph inputs without a use, unless they are outputs too. The list of inputs gets shorter,
       which this pass declares (`drops_inputs`); those that are left keep their order.
    """

    drops_inputs: ClassVar[bool] = True

    def call(self, model: ir.Model) -> Outcome:
        """Remove in place; `what` names each input that went."""
        graph, before = model.graph, count_nodes(model)
        weights = len(graph.initializers)
        modified = RemoveUnusedNodesPass()(model).modified
        modified = RemoveUnusedFunctionsPass()(model).modified or modified  # type: ignore[no-untyped-call]
        unused = [v for v in graph.inputs if not v.uses() and not v.is_graph_output()]
        for value in unused:
            graph.inputs.remove(value)
            graph.initializers.pop(str(value.name), None)
        what = [f"dropped input {value.name}, which nothing uses" for value in unused]
        if nodes := describe_counts(before - count_nodes(model)):
            what.append(f"removed unused {nodes}")
        if gone := weights - len(graph.initializers):
            what.append(f"removed {gone} unused weights")
        return Outcome(model, modified or bool(unused), what)
