"""An attention as a rule found it in a graph, whatever operators it is written in."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class AttentionForm:
    """What is attended with what.

    node: the last one, which makes `output`; what replaces it is put before it.
    query, key, value: [batch, heads, rows, size], or [batch, rows, heads * size] if `merged`; of a
        `key_transposed` the last two axes are swapped.
    heads: of queries, and of keys and values. scale: of the products, before the mask.
    mask: additive of a floating type or boolean (true is seen); None for none.
    also: more that is added to the scores.
    mask_hides: the mask is boolean and true is hidden.
    causal: query i sees keys 0 .. i, besides what the mask says.
    written: how the graph has it, for the report.
    """

    node: ir.Node
    query: ir.Value
    key: ir.Value
    value: ir.Value
    heads: tuple[int, int]
    size: int
    scale: float
    written: str
    mask: ir.Value | None = None
    also: tuple[ir.Value, ...] = ()
    mask_hides: bool = False
    causal: bool = False
    merged: bool = False
    key_transposed: bool = False

    @property
    def output(self) -> ir.Value:
        """What the attention makes, laid out as the query is."""
        return self.node.outputs[0]


@dataclass(frozen=True)
class Unrecognised:
    """An attention that cannot be one operator of ours, and why."""

    node: ir.Node
    written: str
    why: str


def rank(value: ir.Value | None) -> int | None:
    """How many axes a value has, if that is known."""
    return None if value is None or value.shape is None else len(value.shape)


def known(value: ir.Value | None, axis: int) -> int | None:
    """The size of an axis, if it is a number."""
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    size = value.shape[axis]
    return size if isinstance(size, int) else None


def same_size(one: ir.Value, other: ir.Value, *, axis: int) -> bool:
    """Whether an axis is known to be of one size in both, as a number or by its name."""
    if one.shape is None or other.shape is None:
        return False
    a, b = one.shape[axis], other.shape[axis]
    return a == b and (isinstance(a, int) or a.value is not None)


def made_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes `value`, if it is one of these ONNX operators."""
    node = None if value is None else value.producer()
    return node if node is not None and node.domain == "" and node.op_type in op_types else None


def only_user(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The one node that uses `value`, if nothing else does and it is one of these operators."""
    users = list(value.uses())
    if len(users) != 1 or value.is_graph_output():
        return None
    node = users[0].node
    return node if node.domain == "" and node.op_type in op_types else None


def permutation(node: ir.Node) -> tuple[int, ...]:
    """Of a Transpose that says it."""
    attribute = node.attributes.get("perm")
    return () if attribute is None else tuple(attribute.as_ints())
