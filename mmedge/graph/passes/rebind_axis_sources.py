"""Read the size of a named axis from an input that is needed anyway."""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome
from mmedge.graph.passes.rewiring import constant, substitute


class RebindAxisSources(GraphPass):
    """Free inputs that are used only for the size of an axis which another input also has.

    An input that only Shape nodes read (`Shape(v, start=k, end=k+1)`, or Shape followed by a
    Gather or Slice at constant positions) is replaced by the Shape of a *data input*: one that
    some other node reads. So a component does not wait for another component's output only to
    learn the batch size.

    1. Each size that is read must be a number, or an axis whose name a data input has too.
    2. All reads of an input are rebound, or none.
    3. The input itself stays, unused; DropUnusedInputs removes it.
    4. Axis names are trusted: in one graph the same name is the same size. Unnamed dynamic axes
       are left.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Rebind in place."""
        what = []
        for value in [v for v in model.graph.inputs if _only_for_shape(v)]:
            sources = _axis_sources(model.graph)
            reads = [read for node, _ in value.uses() for read in _reads(node)]
            wanted = {_name(value.shape[i]) for r in reads for i in r.axes} if value.shape else {""}
            if wanted <= {None, *sources}:
                for read in reads:
                    _rebind(read, value, sources)
                _remove_dead_shapes(value)
                named = sorted(name for name in wanted if name)
                what.append(f"input {value.name} is no longer read: {_where(named, sources)}")
        return Outcome(model, bool(what), what)


class _Read(NamedTuple):
    """A value that holds the sizes of `axes` of an input: 1-D, or 0-D if `is_scalar`."""

    value: ir.Value
    axes: list[int]
    is_scalar: bool = False


def _only_for_shape(value: ir.Value) -> bool:
    users = [node for node, _ in value.uses()]
    is_read = bool(users) and not value.is_graph_output()
    return is_read and all(_is(node, "Shape") for node in users)


def _is(node: ir.Node, op_type: str) -> bool:
    return node.op_type == op_type and node.domain == ""


def _axis_sources(graph: ir.Graph) -> dict[str, tuple[ir.Value, int]]:
    """Axis name -> (data input, position)."""
    sources: dict[str, tuple[ir.Value, int]] = {}
    for value in graph.inputs:
        if not value.uses() or _only_for_shape(value) or value.is_initializer():
            continue
        for position, dim in enumerate(value.shape or ()):
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                sources.setdefault(dim.value, (value, position))
    return sources


def _reads(shape_node: ir.Node) -> list[_Read]:
    """What is read through `shape_node`: the picks of single axes from it, else all of it."""
    source, shape = shape_node.inputs[0], shape_node.outputs[0]
    if source is None or source.shape is None:
        return []
    start = shape_node.attributes.get_int("start", 0)
    end = shape_node.attributes.get_int("end", len(source.shape))
    axes = list(range(len(source.shape)))[start:end]
    picks = [_pick(node, index, axes) for node, index in shape.uses()]
    if len(axes) == 1 or shape.is_graph_output() or None in picks:
        return [_Read(shape, axes)]
    return [pick for pick in picks if pick is not None]


def _pick(node: ir.Node, index: int, axes: list[int]) -> _Read | None:
    """The Gather or Slice at constant positions of a shape that holds the sizes of `axes`."""
    if index != 0 or node.domain != "" or any(constant(v) is None for v in node.inputs[1:]):
        return None
    bounds = [constant(value) for value in node.inputs[1:]]
    if node.op_type == "Gather" and bounds[0] is not None and bounds[0].ndim < 2:
        chosen = [axes[i] for i in bounds[0].reshape(-1).tolist()]
        return _Read(node.outputs[0], chosen, is_scalar=bounds[0].ndim == 0)
    if node.op_type == "Slice" and len(bounds) >= 2:
        start, end, _, step = ([b.item() for b in bounds if b is not None] + [0, 1])[:4]
        return _Read(node.outputs[0], axes[slice(start, end, step)])
    return None


def _rebind(read: _Read, value: ir.Value, sources: dict[str, tuple[ir.Value, int]]) -> None:
    """Compute what `read` holds from `sources` instead of `value`."""
    assert value.shape is not None
    old = read.value.producer()
    assert old is not None
    assert old.graph is not None
    nodes = [_size_node(value.shape[axis], sources) for axis in read.axes]
    if len(nodes) != 1:
        parts = [node.outputs[0] for node in nodes]
        nodes.append(ir.node("Concat", parts, {"axis": 0}))
    if read.is_scalar:
        nodes.append(ir.node("Squeeze", [nodes[-1].outputs[0]]))
    old.graph.insert_before(old, nodes)
    substitute(read.value, nodes[-1].outputs[0])


def _size_node(dim: int | ir.SymbolicDim, sources: dict[str, tuple[ir.Value, int]]) -> ir.Node:
    name = _name(dim)
    if name is None:
        return ir.node("Constant", [], {"value": ir.tensor([dim], dtype=ir.DataType.INT64)})
    source, axis = sources[name]
    return ir.node("Shape", [source], {"start": axis, "end": axis + 1})


def _remove_dead_shapes(value: ir.Value) -> None:
    for node, _ in list(value.uses()):
        shape = node.outputs[0]
        if node.graph is not None and not shape.uses() and not shape.is_graph_output():
            node.graph.remove(node, safe=True)


def _name(dim: int | ir.SymbolicDim) -> str | None:
    """None for a number, "" for an unknown size."""
    return None if isinstance(dim, int) else dim.value or ""


def _where(names: list[str], sources: dict[str, tuple[ir.Value, int]]) -> str:
    found = [f"axis {name} is axis {sources[name][1]} of {sources[name][0].name}" for name in names]
    return ", ".join(found) or "its sizes are constant"
