"""What types an operator takes, as its ONNX schema says."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

import onnx_ir as ir

from mmedge.graph.precision.formats import NarrowFormat
from mmedge.optional import require


@cache
def _schema(operator: str, domain: str, opset: int) -> Any:
    """The schema, or None of an operator that ONNX does not know."""
    defs = require("onnx").defs
    try:
        return defs.get_schema(operator, opset, domain)
    except defs.SchemaError:
        return None


def opset_of(model: ir.Model) -> int:
    """The version of ONNX's own operators that `model` uses."""
    return int(model.opset_imports.get("", 1))


def is_float32(value: ir.Value | None) -> bool:
    """Whether the value is a tensor of float32."""
    return (
        value is not None
        and value.dtype == ir.DataType.FLOAT
        and (value.type is None or isinstance(value.type, ir.TensorType))
    )


class OperatorTypes:
    """Which inputs and outputs of the nodes of one model may be in a narrow format.

    boundary: names of the graph's own inputs and outputs that shall be.
    """

    def __init__(
        self, model: ir.Model, narrow: NarrowFormat, boundary: Collection[str] = ()
    ) -> None:
        self.boundary = frozenset(boundary)
        self._opset = opset_of(model)
        self._type = narrow.onnx

    def known(self, node: ir.Node) -> bool:
        """Whether ONNX says which types the node takes."""
        return self._find(node) is not None

    def takes(self, node: ir.Node, index: int) -> bool:
        """Whether input `index` may be in the format."""
        schema = self._find(node)
        return schema is not None and self._allowed(schema.inputs, index)

    def gives(self, node: ir.Node, index: int) -> bool:
        """Whether output `index` may be in the format."""
        schema = self._find(node)
        return schema is not None and self._allowed(schema.outputs, index)

    def converts(self, node: ir.Node) -> bool:
        """Whether any of the node's float32 inputs and outputs may be in the format."""
        takes = (self.takes(node, i) for i, v in enumerate(node.inputs) if is_float32(v))
        gives = (self.gives(node, i) for i, v in enumerate(node.outputs) if is_float32(v))
        return any(takes) or any(gives)

    def _find(self, node: ir.Node) -> Any:
        return None if node.domain else _schema(node.op_type, node.domain, self._opset)

    def _allowed(self, formals: Any, index: int) -> bool:
        # The last formal parameter of a variadic operator stands for all that follow.
        formal = formals[min(index, len(formals) - 1)]
        return self._type in formal.types
