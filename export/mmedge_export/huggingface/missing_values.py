"""Nodes of a traced graph that upstream's repairs added without saying what they compute.

transformers' fixes of FX graphs (5.23) put new nodes in and leave out `meta["val"]`, which the
ONNX exporter reads of each. It is computed here from the fake tensors that come in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

VALUE = "val"


def with_values(repair: Callable[[str, GraphModule], None]) -> Callable[[str, GraphModule], None]:
    """`repair`, after which every node that can has a value."""

    def repaired(backend: str, module: GraphModule) -> None:
        repair(backend, module)
        fill_values(module)

    return repaired


def fill_values(module: GraphModule) -> None:
    """The missing values of nodes that call a function, in order."""
    for node in module.graph.nodes:
        if node.op == "call_function" and VALUE not in node.meta:
            _fill(node)


def _fill(node: Node) -> None:
    if not all(VALUE in given.meta for given in node.all_input_nodes):
        return
    args, kwargs = torch.fx.node.map_arg((node.args, dict(node.kwargs)), _value)
    node.meta[VALUE] = node.target(*args, **kwargs)  # type: ignore[operator]


def _value(node: Node) -> Any:
    return node.meta[VALUE]
