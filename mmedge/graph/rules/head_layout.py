"""Heads side by side, [batch, rows, heads * size], as projections make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from mmedge.graph.passes.rewiring import constant
from mmedge.graph.rules.attention_form import (
    AttentionForm,
    known,
    made_by,
    only_user,
    permutation,
    rank,
    same_size,
)
from mmedge.graph.rules.softmax_attention import untransposed

BY_HEAD = (0, 2, 1, 3)
# From the order of axes in memory to [batch, rows, heads, size].
ROWS_FIRST = {"bhsd": (0, 2, 1, 3), "bhds": (0, 3, 1, 2)}


class Layout:
    """Makes the nodes that lay out one attention's inputs and its output, before one node."""

    def __init__(self, form: AttentionForm) -> None:
        self.form = form
        self.nodes: list[ir.Node] = []
        self.query, self.key, self.value = self._operands()

    def _operands(self) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Queries, keys and values as the operator of ours reads them."""
        form = self.form
        if form.merged:
            return form.query, form.key, form.value
        own, shared = form.heads
        key = self._key() if form.key_transposed else self._merged(form.key, shared)
        return self._merged(form.query, own), key, self._merged(form.value, shared)

    def make(self, op_type: str, inputs: list[ir.Value], **attributes: Any) -> ir.Value:
        """The result of a new node."""
        node = ir.node(op_type, inputs, attributes)
        self.nodes.append(node)
        to = attributes.get("to")
        made = inputs[0].type if to is None else ir.TensorType(ir.DataType(to))
        node.outputs[0].type = made
        return node.outputs[0]

    def rows(self, operand: ir.Value) -> ir.Value:
        """[how many rows there are] of one of the operands."""
        made = self.make("Shape", [operand], start=1, end=2)
        made.type = ir.TensorType(ir.DataType.INT64)
        return made

    def integers(self, numbers: list[int]) -> ir.Value:
        """A constant of int64."""
        tensor = ir.tensor(numbers, dtype=ir.DataType.INT64)
        node = ir.node("Constant", [], {"value": tensor})
        self.nodes.append(node)
        made = node.outputs[0]
        made.type, made.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([len(numbers)])
        return made

    def _key(self) -> ir.Value:
        """Of keys [batch, heads, size, rows]."""
        found = untransposed(self.form.key)
        shared = self.form.heads[1]
        if found is not None:
            source, order = found
            if order == (0, 1, 3, 2):
                return self._merged(source, shared)
            if order == (0, 2, 3, 1):
                return self._joined(source, shared)
        return self._joined(
            self.make("Transpose", [self.form.key], perm=ROWS_FIRST["bhds"]), shared
        )

    def _merged(self, value: ir.Value, heads: int) -> ir.Value:
        """Of [batch, heads, rows, size]: where it is a Transpose, what was transposed."""
        transpose = made_by(value, "Transpose")
        if transpose is not None and permutation(transpose) == BY_HEAD:
            source = transpose.inputs[0]
            assert source is not None
            return self._joined(source, heads)
        return self._joined(self.make("Transpose", [value], perm=BY_HEAD), heads)

    def _joined(self, value: ir.Value, heads: int) -> ir.Value:
        """Of [batch, rows, heads, size]: where it is a Reshape of what is asked for, that."""
        width = heads * self.form.size
        reshape = made_by(value, "Reshape")
        source = None if reshape is None else reshape.inputs[0]
        if source is not None and _splits_last(source, value, width):
            return source
        joined = self.make("Reshape", [value, self.integers([0, 0, width])])
        if value.shape is not None:
            joined.shape = ir.Shape([*value.shape[:2], width])
        return joined


def _splits_last(source: ir.Value, split: ir.Value, width: int) -> bool:
    """Whether [a, b, width] and [a, b, heads, size] differ in nothing else.

    Of sizes whose product is known to be equal, one may be unknown.
    """
    if source.shape is None or split.shape is None:
        return False
    if (len(source.shape), len(split.shape)) != (3, 4) or known(source, 2) != width:
        return False
    heads, size = known(split, 2), known(split, 3)
    if heads is None or size is None or heads * size != width:
        return False
    return any(same_size(source, split, axis=axis) for axis in (0, 1))


@dataclass(frozen=True)
class MergedOutput:
    """Where a graph lays the heads of an attention's result side by side.

    node: the Reshape that makes it.
    guard: [batch, 1, rows, 1], booleans of the rows that are 0 whatever the attention makes of
        them; zero: that 0. Both None where there are no such rows.
    """

    node: ir.Node
    guard: ir.Value | None = None
    zero: ir.Value | None = None


def merged_output(form: AttentionForm) -> MergedOutput | None:
    """Of an attention whose result is used in no other way."""
    if form.merged:
        return None
    guard = _guard(form.output)
    result = form.output if guard is None else guard.outputs[0]
    transpose = only_user(result, "Transpose")
    if transpose is None or permutation(transpose) != BY_HEAD:
        return None
    reshape = only_user(transpose.outputs[0], "Reshape")
    width = form.heads[0] * form.size
    if reshape is None or not _splits_last(reshape.outputs[0], transpose.outputs[0], width):
        return None
    if guard is None:
        return MergedOutput(reshape)
    return MergedOutput(reshape, guard.inputs[0], guard.inputs[1])


def _guard(output: ir.Value) -> ir.Node | None:
    """Where(row sees no key, 0, output), as PyTorch's attention has it of boolean masks."""
    where = only_user(output, "Where")
    if where is None or where.inputs[2] is not output:
        return None
    rows, zero = where.inputs[0], constant(where.inputs[1])
    single = rank(rows) == 4 and known(rows, 1) == 1 and known(rows, 3) == 1
    return where if single and zero is not None and zero.size == 1 else None
