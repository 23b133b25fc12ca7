"""Whether a node of an operator that is taken has something about it that is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mmedge.capabilities import Limit

if TYPE_CHECKING:
    import onnx_ir as ir


def exceeds(node: ir.Node, limit: Limit) -> bool:
    """Whether all that `limit` names is so; what the graph does not state is not so."""
    return all(is_so() for is_so in _conditions(node, limit))


def _conditions(node: ir.Node, limit: Limit) -> Iterator[Callable[[], bool]]:
    if limit.attribute:
        yield lambda: _set_to_another(node, limit)
    if limit.input is not None:
        yield lambda: _input(node, limit.input) is not None
    if limit.output is not None:
        yield lambda: _has_output(node, limit.output)
    if limit.not_constant is not None:
        yield lambda: _computed(_input(node, limit.not_constant))
    if limit.not_zero is not None:
        yield lambda: _not_zero(_input(node, limit.not_zero))
    if limit.type_of is not None:
        place, name = limit.type_of
        yield lambda: _type(_input(node, place)) == name
    if limit.rank is not None:
        where, axes = limit.rank
        yield lambda: _rank(_input(node, where)) == axes
    if limit.unequal is not None:
        yield lambda: _last_axes_differ(node, limit)
    if limit.same is not None:
        yield lambda: _same(node, limit)
    if limit.constant_over is not None:
        yield lambda: _constant_over(node, limit)


def _set_to_another(node: ir.Node, limit: Limit) -> bool:
    attribute = node.attributes.get(limit.attribute)
    if attribute is None:
        return False
    value: Any = attribute.value
    values = value if isinstance(value, tuple | list) else (value,)
    return not limit.unless or any(item not in limit.unless for item in values)


def _input(node: ir.Node, place: int | None) -> ir.Value | None:
    return node.inputs[place] if place is not None and place < len(node.inputs) else None


def _has_output(node: ir.Node, place: int | None) -> bool:
    """Declared is enough: parsers count outputs, not uses."""
    rest = node.outputs[place:] if place is not None else ()
    return any(value.name for value in rest)


def _constant(value: ir.Value | None) -> Any:
    import onnx_ir as ir

    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def _computed(value: ir.Value | None) -> bool:
    return value is not None and _constant(value) is None


def _not_zero(value: ir.Value | None) -> bool:
    array = _constant(value)
    return value is not None and (array is None or bool(array.any()))


def _same(node: ir.Node, limit: Limit) -> bool:
    """One tensor, also where copies of it are made in between."""
    assert limit.same is not None
    first, second = (_original(_input(node, place)) for place in limit.same)
    return first is not None and first is second


def _original(value: ir.Value | None) -> ir.Value | None:
    while value is not None:
        producer = value.producer()
        if producer is None or producer.op_type != "Identity":
            break
        value = producer.inputs[0]
    return value


def _constant_over(node: ir.Node, limit: Limit) -> bool:
    assert limit.constant_over is not None
    place, most = limit.constant_over
    array = _constant(_input(node, place))
    return array is not None and bool((array > most).any())


def _type(value: ir.Value | None) -> str:
    return "" if value is None or value.dtype is None else value.dtype.name.lower()


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _last_axes_differ(node: ir.Node, limit: Limit) -> bool:
    shapes = [v.shape if (v := _input(node, place)) else None for place in limit.unequal or ()]
    sizes = [shape[-1] for shape in shapes if shape]
    return len({size for size in sizes if isinstance(size, int)}) > 1
