"""Two small steps that passes share: read a constant, and let one value stand for another."""

from __future__ import annotations

import onnx_ir as ir

from mmedge.tensors import Array


def constant(value: ir.Value | None) -> Array | None:
    """The array that `value` always is, or None: an initializer that no caller can override,
    or the output of a Constant node.
    """
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def substitute(old: ir.Value, new: ir.Value) -> bool:
    """Use `new`, which is always equal to `old`, wherever `old` was used; drop `old` if unused.

    False, and nothing is done, where ONNX cannot say it: a graph output keeps its name, so `new`
    must be computed in the same graph and not be an output already.
    """
    node = old.producer()
    if node is None or node.graph is None:
        return False
    if old.is_graph_output():
        producer = new.producer()
        if producer is None or producer.graph is not node.graph or new.is_graph_output():
            return False
        new.name = old.name
    new.shape = new.shape or old.shape
    new.type = new.type or old.type
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    if not any(value.uses() or value.is_graph_output() for value in node.outputs):
        node.graph.remove(node, safe=True)
    return True


def same_shape(first: ir.Shape | None, second: ir.Shape | None) -> bool:
    """Whether both shapes are known and equal: every size a number, or the same named axis."""
    if first is None or second is None or len(first) != len(second):
        return False
    return all(
        a == b and (isinstance(a, int) or a.value is not None)
        for a, b in zip(first, second, strict=True)
    )
