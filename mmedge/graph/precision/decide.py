"""Which nodes compute in the narrow format, and why the others stay in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
import onnx_ir as ir

from mmedge.graph.precision.formats import NarrowFormat
from mmedge.graph.precision.operator_types import OperatorTypes, is_float32
from mmedge.graph.precision.sensitive import POSITION, positional, reason_by_operator
from mmedge.graph.precision.weights import WeightFacts, facts_of

# Worth their casts wherever they stand, as is what reads large weights; other operators go with
# their neighbours.
HEAVY = frozenset(
    [
        "MatMul",
        "Gemm",
        "Conv",
        "ConvTranspose",
        "Attention",
        "Einsum",
        "LSTM",
        "GRU",
        "RNN",
        "RotaryEmbedding",
    ]
)
# A table of so many numbers is narrow for the memory that it takes, whoever reads it.
LARGE = 1 << 14
BETWEEN = "between operators that stay in float32: casts would cost more than it saves"
NO_TYPE = "its operator takes no such type"
UNKNOWN = "its operator is not one of ONNX's own"
SUBGRAPH = "a branch or a loop stays in float32 with its body"
MOST_SWEEPS = 8


class Seen(msgspec.Struct, frozen=True):
    """What a value held on real inputs.

    largest: the largest magnitude, without what stands for minus infinity.
    lowest: the lowest finite number.
    """

    largest: float
    lowest: float


@dataclass(frozen=True)
class Decision:
    """The nodes that convert; why every other node with float32 values does not."""

    narrow: set[ir.Node]
    kept: dict[ir.Node, str]
    weights: dict[str, WeightFacts] = field(default_factory=dict)


def decide(
    model: ir.Model, narrow: NarrowFormat, types: OperatorTypes, seen: Mapping[str, Seen]
) -> Decision:
    """Every node of `model` that has float32 values, in its place."""
    weights = constant_facts(model, narrow)
    kept = _kept(model, narrow, types, seen, weights)
    kept |= _bodies(model)
    free = [node for node in model.graph if node not in kept and _computes(node)]
    heavy = {node for node in free if node.op_type in HEAVY or _reads_large(node, weights)}
    flexible = [node for node in free if node not in heavy]
    low = _neighbours(flexible, heavy, types)
    low = _fewest_casts(flexible, low, types)
    kept |= {node: BETWEEN for node in flexible if node not in low}
    return Decision(low, kept, weights)


def constant_facts(model: ir.Model, narrow: NarrowFormat) -> dict[str, WeightFacts]:
    """Name -> how it fits, for every float32 constant of the main graph."""
    found: dict[str, WeightFacts] = {}
    for value in [*model.graph.initializers.values(), *_constant_outputs(model.graph)]:
        tensor = constant_tensor(value)
        if tensor is not None and value.name:
            found[value.name] = facts_of(tensor, narrow)
    return found


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The float32 tensor that the value always is, or None."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return tensor if tensor is not None and tensor.dtype == ir.DataType.FLOAT else None


def wants_narrow(node: ir.Node, index: int, low: set[ir.Node], types: OperatorTypes) -> bool:
    """Whether the node reads float32 input `index` in the format."""
    return node in low and types.takes(node, index)


def is_made_narrow(value: ir.Value, low: set[ir.Node], types: OperatorTypes) -> bool:
    """Whether a float32 value comes out of its node, or into the graph, in the format."""
    if value.is_graph_input():
        return value.name in types.boundary
    node = value.producer()
    return node in low and types.gives(node, value.index() or 0)


def _computes(node: ir.Node) -> bool:
    """Whether the node does something with float32 values; a cast says itself what it makes."""
    return _has_float32(node) and node.op_type not in ("Constant", "Cast", "CastLike")


def _has_float32(node: ir.Node) -> bool:
    return any(is_float32(value) for value in (*node.inputs, *node.outputs))


def _constant_outputs(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from (node.outputs[0] for node in graph if node.op_type == "Constant")


def _kept(
    model: ir.Model,
    narrow: NarrowFormat,
    types: OperatorTypes,
    seen: Mapping[str, Seen],
    weights: Mapping[str, WeightFacts],
) -> dict[ir.Node, str]:
    """Nodes that stay in float32 for what they are or what they hold."""
    places = positional(model.graph)
    kept: dict[ir.Node, str] = {}
    for node in model.graph:
        if not _computes(node):
            continue
        reason = _by_kind(node, types) or _overflow(node, narrow, seen)
        reason = reason or (POSITION if node in places else _refused(node, narrow, weights))
        if reason:
            kept[node] = reason
    return kept


def _by_kind(node: ir.Node, types: OperatorTypes) -> str | None:
    if node.domain or not types.known(node):
        return UNKNOWN
    if _has_body(node):
        return SUBGRAPH
    reason = reason_by_operator(node)
    if reason:
        return reason
    return None if types.converts(node) else NO_TYPE


def _overflow(node: ir.Node, narrow: NarrowFormat, seen: Mapping[str, Seen]) -> str | None:
    for value in (*node.inputs, *node.outputs):
        found = seen.get(value.name or "") if is_float32(value) and value is not None else None
        if found is not None and not found.largest <= narrow.most_seen:
            assert value is not None
            return (
                f"{value.name!r} holds {found.largest:.4g} on real inputs; "
                f"the format ends at {narrow.largest:.5g}"
            )
    return None


def _refused(node: ir.Node, narrow: NarrowFormat, weights: Mapping[str, WeightFacts]) -> str | None:
    for value in node.inputs:
        facts = weights.get(value.name or "") if value is not None else None
        reason = facts.refusal(str(value.name), narrow) if facts and value is not None else None
        if reason:
            return reason
    return None


def _reads_large(node: ir.Node, weights: Mapping[str, WeightFacts]) -> bool:
    facts = [weights.get(value.name or "") for value in node.inputs if value is not None]
    return any(fact is not None and fact.count >= LARGE for fact in facts)


def _has_body(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())


def _bodies(model: ir.Model) -> dict[ir.Node, str]:
    """Nodes with float32 values inside branches and loops."""
    main = set(model.graph)
    inside = (n for n in ir.traversal.RecursiveGraphIterator(model.graph) if n not in main)
    return {node: SUBGRAPH for node in inside if _computes(node)}


def _neighbours(flexible: list[ir.Node], heavy: set[ir.Node], types: OperatorTypes) -> set[ir.Node]:
    """Heavy nodes, those that read what such a node makes, and those read by nothing else.

    A node of constants alone has them converted, and costs no cast.
    """
    low = set(heavy)
    for node in flexible:
        given = [v for v in node.inputs if is_float32(v) and constant_tensor(v) is None]
        if not given or any(is_made_narrow(v, low, types) for v in given if v is not None):
            low.add(node)
    for node in reversed(flexible):
        uses = [use for value in node.outputs if is_float32(value) for use in value.uses()]
        leaves = any(v.is_graph_output() and v.name not in types.boundary for v in node.outputs)
        if node in low or not uses or leaves:
            continue
        if all(wants_narrow(user, index, low, types) for user, index in uses):
            low.add(node)
    return low


def _fewest_casts(flexible: list[ir.Node], low: set[ir.Node], types: OperatorTypes) -> set[ir.Node]:
    """Let single nodes change sides while that saves casts."""
    for _ in range(MOST_SWEEPS):
        changed = False
        for node in flexible:
            only_kept = node in low and not _narrow_readers(node, low, types)
            here = _casts_around(node, low, types)
            low ^= {node}
            there = _casts_around(node, low, types)
            # Where it is all one, what is read in float32 alone is computed in float32.
            if there < here or (there == here and only_kept and _adds_up(node)):
                changed = True
            else:
                low ^= {node}
        if not changed:
            break
    return low


def _narrow_readers(node: ir.Node, low: set[ir.Node], types: OperatorTypes) -> bool:
    uses = [use for value in node.outputs for use in value.uses()]
    return not uses or any(wants_narrow(user, index, low, types) for user, index in uses)


def _adds_up(node: ir.Node) -> bool:
    return node.op_type in ("Add", "Sub", "Mul", "Div")


def _casts_around(node: ir.Node, low: set[ir.Node], types: OperatorTypes) -> int:
    """Casts of the values that the node reads and makes."""
    values = [v for v in dict.fromkeys((*node.inputs, *node.outputs)) if is_float32(v)]
    return sum(_casts_of(v, low, types) for v in values if v is not None)


def _casts_of(value: ir.Value, low: set[ir.Node], types: OperatorTypes) -> int:
    """One where somebody reads the value in the other format than it is made in."""
    if constant_tensor(value) is not None:
        return 0
    made = is_made_narrow(value, low, types)
    readers = [
        wants_narrow(user, index, low, types)
        for user, index in value.uses()
        if user.op_type != "Cast"
    ]
    readers += [value.name in types.boundary] * value.is_graph_output()
    return int(any(reader != made for reader in readers))
