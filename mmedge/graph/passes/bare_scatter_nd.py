"""Leave out what ScatterND does by itself."""

from __future__ import annotations

import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome


class BareScatterND(GraphPass):
    """Drop the attribute reduction of ScatterND where it says "none", the default.

    TensorRT before 10.9 refuses the attribute, whatever it says.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Rewrite in place."""
        found = [node for graph in model.graphs() for node in graph if _says_none(node)]
        for node in found:
            node.attributes.pop("reduction")
        what = [f"dropped the reduction none of {len(found)} ScatterND"] if found else []
        return Outcome(model, bool(found), what)


def _says_none(node: ir.Node) -> bool:
    return (
        node.op_type == "ScatterND"
        and node.domain == ""
        and "reduction" in node.attributes
        and node.attributes.get_string("reduction") == "none"
    )
