"""Heads side by side, [batch, rows, heads * size], as projections make them."""

from __future__ import annotations

import onnx_ir as ir

from mmedge.graph.rules.attention_form import (
    AttentionForm,
    known,
    made_by,
    only_user,
    permutation,
    rank,
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

    def operands(self) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Queries, keys and values as the operator of ours reads them."""
        form = self.form
        if form.merged:
            return form.query, form.key, form.value
        own, shared = form.heads
        key = self._key() if form.key_transposed else self._merged(form.key, shared)
        return self._merged(form.query, own), key, self._merged(form.value, shared)

    def make(self, op_type: str, inputs: list[ir.Value], **attributes: object) -> ir.Value:
        """The result of a new node."""
        node = ir.node(op_type, inputs, attributes)
        self.nodes.append(node)
        node.outputs[0].type = inputs[0].type
        return node.outputs[0]

    def rows(self, value: ir.Value) -> ir.Value:
        """[how many rows there are] of queries, keys or values."""
        axis = (rank(value) or 4) - 2
        made = self.make("Shape", [value], start=axis, end=axis + 1)
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
    return any(_same(source.shape[axis], split.shape[axis]) for axis in (0, 1))


def _same(a: int | ir.SymbolicDim, b: int | ir.SymbolicDim) -> bool:
    """What is unknown on both sides compares equal without being so."""
    return a == b and (isinstance(a, int) or a.value is not None)


def merged_output(form: AttentionForm) -> ir.Node | None:
    """The Reshape that lays the attention's heads side by side, if nothing else uses it."""
    transpose = only_user(form.output, "Transpose")
    if form.merged or transpose is None or permutation(transpose) != BY_HEAD:
        return None
    reshape = only_user(transpose.outputs[0], "Reshape")
    if reshape is None or reshape.inputs[0] is not transpose.outputs[0]:
        return None
    width = form.heads[0] * form.size
    whole = _splits_last(reshape.outputs[0], transpose.outputs[0], width)
    return reshape if whole else None
