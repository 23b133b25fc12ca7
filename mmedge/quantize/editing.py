"""Putting new nodes in the place of one: constants, names, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from mmedge.graph.provenance import MODULE_PATH
from mmedge.tensors import Array

CONTRIB = "com.microsoft"


class Replacement:
    """Nodes that take the place of `node`, inserted before it as they are made.

    Names start with the node's output's, so that they are unique and say where they belong.
    """

    def __init__(self, model: ir.Model, node: ir.Node) -> None:
        assert node.graph is not None
        self._model, self._node, self._graph = model, node, node.graph
        self._stem = str(node.outputs[0].name)
        self._count = 0

    def constant(self, array: Array, name: str, *, dtype: ir.DataType | None = None) -> ir.Value:
        """An initializer of the graph; one of the same name is used again."""
        if name in self._graph.initializers:
            return self._graph.initializers[name]
        tensor = ir.tensor(array, dtype=dtype, name=name)
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        if isinstance(self._graph, ir.Graph):
            self._graph.register_initializer(value)
        return value

    def add(
        self,
        operator: str,
        *inputs: ir.Value | None,
        outputs: int = 1,
        domain: str = "",
        like: ir.Value | None = None,
        dtype: ir.DataType | None = None,
        attributes: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> tuple[ir.Value, ...]:
        """A node before the replaced one; its outputs.

        like: the value whose shape the first output has. dtype: of the first output.
        attributes: the node's, besides those given by name.
        """
        named = {**(attributes or {}), **more}
        made = ir.node(operator, inputs, named, domain=domain, num_outputs=outputs)
        if domain:
            self._model.graph.opset_imports.setdefault(domain, 1)
        for index, value in enumerate(made.outputs):
            value.name = f"{self._stem}.{operator}.{self._count + index}"
        self._count += outputs
        if like is not None:
            made.outputs[0].shape = like.shape
        if dtype is not None:
            made.outputs[0].dtype = dtype
        if MODULE_PATH in self._node.metadata_props:
            made.metadata_props[MODULE_PATH] = self._node.metadata_props[MODULE_PATH]
        self._graph.insert_before(self._node, made)
        return tuple(made.outputs)

    def finish(self, *outputs: ir.Value | None) -> None:
        """Let `outputs` stand for the node's, in order, and remove it."""
        for old, new in zip(self._node.outputs, outputs, strict=False):
            if new is None:
                continue
            name = old.name
            new.type, new.shape = old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            old.name = f"{name}.replaced"
            new.name = name
        self._graph.remove(self._node, safe=True)
