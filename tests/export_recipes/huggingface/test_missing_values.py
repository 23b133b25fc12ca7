"""Nodes that a repair has added say what they compute."""

from __future__ import annotations

import torch
from mmedge_export.huggingface.missing_values import VALUE, with_values
from torch import Tensor, nn
from torch.fx import GraphModule


class Writing(nn.Module):
    def forward(self, rows: Tensor, index: Tensor) -> Tensor:
        rows = rows.clone()
        rows[..., index] = -1.0
        return rows


def doubled(_backend: str, module: GraphModule) -> None:
    """A repair that adds a node, as transformers' do."""
    last = next(node for node in reversed(module.graph.nodes) if node.op == "call_function")
    with module.graph.inserting_after(last):
        added = module.graph.call_function(torch.ops.aten.mul.Tensor, (last, 2))
    last.replace_all_uses_with(added, delete_user_cb=lambda user: user is not added)
    module.recompile()


def test_a_node_without_a_value_gets_the_one_it_computes() -> None:
    batch = torch.export.Dim("batch", min=2, max=9)
    example = (torch.rand(3, 4), torch.tensor([0, 2]))
    program = torch.export.export(Writing(), example, dynamic_shapes=({0: batch}, None))
    with_values(doubled)("onnx", program.graph_module)
    calls = [node for node in program.graph_module.graph.nodes if node.op == "call_function"]
    assert all(VALUE in node.meta for node in calls)
    added = next(node for node in calls if node.target is torch.ops.aten.mul.Tensor)
    assert isinstance(added.meta[VALUE].shape[0], torch.SymInt)
    assert added.meta[VALUE].shape[1] == 4
