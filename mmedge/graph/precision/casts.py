"""Puts a decision into the graph: types of values, converted constants, casts where they differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx_ir as ir

from mmedge.graph.precision.decide import (
    Decision,
    constant_tensor,
    is_made_narrow,
    wants_narrow,
)
from mmedge.graph.precision.formats import NarrowFormat
from mmedge.graph.precision.operator_types import OperatorTypes, is_float32
from mmedge.graph.precision.weights import narrowed

Use = tuple[ir.Node, int]


class Converter:
    """Converts one model in place. A cast is shared by all who read the value in that format.

    masked: values that are clipped before a cast (see `masked_values`).
    """

    def __init__(
        self,
        model: ir.Model,
        decision: Decision,
        narrow: NarrowFormat,
        types: OperatorTypes,
        *,
        masked: Collection[ir.Value],
    ) -> None:
        self._graph = model.graph
        self._low = decision.narrow
        self._narrow = narrow
        self._types = types
        self._masked = masked
        self._names = _names(model.graph)
        self.casts = 0

    def convert(self) -> None:
        """Do it."""
        graph = self._graph
        made = [value for node in graph for value in node.outputs]
        values = [*graph.inputs, *made]
        constants = [v for v in (*graph.initializers.values(), *made) if constant_tensor(v)]
        # What each wants is asked before any type changes.
        plans = [(v, self._narrow_uses(v)) for v in values if is_float32(v)]
        by_value = dict(plans)
        for value in constants:
            uses = by_value.get(value)
            self._convert_constant(value, self._narrow_uses(value) if uses is None else uses)
        for value, uses in plans:
            if value not in constants:
                self._convert_value(value, uses)
        self._fill_constants()
        self._merge_casts()

    def _narrow_uses(self, value: ir.Value) -> list[Use]:
        return [
            (node, index)
            for node, index in value.uses()
            if wants_narrow(node, index, self._low, self._types)
        ]

    def _convert_constant(self, value: ir.Value, uses: list[Use]) -> None:
        """In place where nobody reads it in float32; else a second one."""
        tensor = constant_tensor(value)
        if tensor is None or not uses:
            return
        alone = len(uses) == len(list(value.uses())) and not value.is_graph_output()
        if alone and value.is_initializer():
            value.const_value = narrowed(tensor, self._narrow, str(value.name))
            value.dtype = self._narrow.dtype
            return
        name = self._free_name(f"{value.name}.{self._narrow.name}")
        copy = ir.Value(
            name=name,
            shape=ir.Shape(tensor.shape.numpy()),
            type=ir.TensorType(self._narrow.dtype),
            const_value=narrowed(tensor, self._narrow, name),
        )
        self._graph.register_initializer(copy)
        _rewire(uses, copy)
        node = value.producer()
        if alone and node is not None:
            self._graph.remove(node, safe=True)

    def _convert_value(self, value: ir.Value, uses: list[Use]) -> None:
        # Asked by name, so before the value gets another one.
        leaves_narrow = value.is_graph_output() and value.name in self._types.boundary
        if not is_made_narrow(value, self._low, self._types):
            reader = self._cast(value, self._narrow.dtype) if uses else value
            _rewire(uses, reader)
            if leaves_narrow:
                self._replace_output(value, reader if uses else None)
            return
        narrow = set(uses)
        others = [use for use in value.uses() if use not in narrow and use[0].op_type != "Cast"]
        value.dtype = self._narrow.dtype
        leaves = value.is_graph_output() and not leaves_narrow
        if others or leaves:
            wide = self._cast(value, ir.DataType.FLOAT)
            _rewire(others, wide)
            if leaves:
                self._rename_output(value, wide)

    def _rename_output(self, value: ir.Value, cast: ir.Value) -> None:
        """Let `cast` be the graph's output in place of `value`, under its name."""
        name = value.name
        value.name = self._free_name(f"{name}.{self._narrow.name}")
        cast.name = name
        for index, output in enumerate(self._graph.outputs):
            if output is value:
                self._graph.outputs[index] = cast

    def _replace_output(self, value: ir.Value, cast: ir.Value | None) -> None:
        """A float32 value leaves the graph in the format."""
        self._rename_output(value, cast or self._cast(value, self._narrow.dtype))

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """The value in another format, right after it is made."""
        nodes: list[ir.Node] = []
        given = value
        if dtype != ir.DataType.FLOAT and value in self._masked:
            nodes.append(ir.node("Max", [value, self._lowest()]))
            given = nodes[-1].outputs[0]
            given.dtype, given.shape = ir.DataType.FLOAT, _copy(value.shape)
            given.name = self._free_name(f"{value.name}.clipped")
        nodes.append(ir.node("Cast", [given], {"to": int(dtype)}))
        cast = nodes[-1].outputs[0]
        kind = self._narrow.name if dtype != ir.DataType.FLOAT else "fp32"
        cast.name = self._free_name(f"{value.name}.{kind}")
        cast.dtype, cast.shape = dtype, _copy(value.shape)
        self._insert_after(value, nodes)
        self.casts += 1
        return cast

    def _insert_after(self, value: ir.Value, nodes: list[ir.Node]) -> None:
        producer = value.producer()
        if producer is not None:
            self._graph.insert_after(producer, nodes)
        else:
            self._graph.insert_before(self._graph[0], nodes)

    def _lowest(self) -> ir.Value:
        name = f"{self._narrow.name}.minus_infinity"
        if name not in self._graph.initializers:
            tensor = ir.tensor(np.float32(self._narrow.mask), name=name)
            value = ir.Value(
                name=name,
                shape=ir.Shape([]),
                type=ir.TensorType(ir.DataType.FLOAT),
                const_value=tensor,
            )
            self._graph.register_initializer(value)
        return self._graph.initializers[name]

    def _fill_constants(self) -> None:
        """ConstantOfShape says by its value what it makes."""
        for node in self._low:
            if node.op_type == "ConstantOfShape":
                given = node.attributes.get("value")
                array = np.zeros(1, np.float32) if given is None else given.as_tensor().numpy()
                tensor = ir.Tensor(self._narrow.convert(array), dtype=self._narrow.dtype)
                node.attributes["value"] = ir.AttrTensor("value", tensor)

    def _merge_casts(self) -> None:
        """Integers that become float32 for nothing but to become narrow do so at once."""
        for node in list(self._graph):
            value = node.outputs[0]
            if node.op_type != "Cast" or value.dtype != ir.DataType.FLOAT:
                continue
            users = [user for user, _ in value.uses()]
            dtypes = {_made_by_cast(user) for user in users}
            if dtypes != {self._narrow.dtype} or value.is_graph_output():
                continue
            node.attributes["to"] = ir.AttrInt64("to", int(self._narrow.dtype))
            value.dtype = self._narrow.dtype
            for user in users:
                if not user.outputs[0].is_graph_output():
                    user.outputs[0].replace_all_uses_with(value)
                    self._graph.remove(user, safe=True)

    def _free_name(self, wanted: str) -> str:
        taken = self._names
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}.{number}"
        taken.add(name)
        return name


def _names(graph: ir.Graph) -> set[str]:
    nodes = ir.traversal.RecursiveGraphIterator(graph)
    made = {str(value.name) for node in nodes for value in node.outputs}
    return made | {str(v.name) for v in graph.inputs} | set(graph.initializers)


def _made_by_cast(node: ir.Node) -> ir.DataType | None:
    return node.outputs[0].dtype if node.op_type == "Cast" else None


def _rewire(uses: Iterable[Use], value: ir.Value) -> None:
    for node, index in uses:
        node.replace_input_with(index, value)


def _copy(shape: ir.Shape | None) -> ir.Shape | None:
    return shape.copy() if shape is not None else None
