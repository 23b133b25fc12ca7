"""Which values may hold what stands for minus infinity."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from mmedge.graph.precision.decide import HEAVY, Seen, constant_tensor
from mmedge.graph.precision.formats import STANDS_FOR_MINUS_INFINITY
from mmedge.graph.precision.operator_types import is_float32
from mmedge.graph.precision.sensitive import KEPT


def masked_values(graph: ir.Graph, seen: Mapping[str, Seen]) -> set[ir.Value]:
    """Float32 values that hold such a number, or may: it was seen, or a constant leads there.

    A cast would make them infinite, so they are clipped before.
    """
    found = {value for value in graph.initializers.values() if _constant_mask(value)}
    found |= {value for value in graph.inputs if _was_seen(value, seen)}
    for node in graph:
        ends = node.op_type in KEPT or node.op_type in HEAVY
        follows = not ends and any(value in found for value in node.inputs if value is not None)
        for value in node.outputs:
            if is_float32(value) and (follows or _was_seen(value, seen) or _constant_mask(value)):
                found.add(value)
    return found


def _was_seen(value: ir.Value, seen: Mapping[str, Seen]) -> bool:
    facts = seen.get(value.name or "")
    return facts is not None and facts.lowest <= STANDS_FOR_MINUS_INFINITY


def _constant_mask(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    # Masks that are large are computed; a large constant is a weight.
    return tensor is not None and bool(
        (tensor.numpy() <= STANDS_FOR_MINUS_INFINITY).any() if tensor.size else False
    )
