"""Compute in float16 or bfloat16 where the numbers allow it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import msgspec
import onnx_ir as ir

from mmedge.errors import GraphError
from mmedge.graph.passes.base import GraphPass, Outcome, initializer_bytes
from mmedge.graph.precision.casts import Converter
from mmedge.graph.precision.decide import Decision, Seen, decide
from mmedge.graph.precision.formats import FORMATS, NarrowFormat
from mmedge.graph.precision.masks import masked_values
from mmedge.graph.precision.operator_types import OperatorTypes, is_float32
from mmedge.graph.provenance import MODULE_PATH, inherit_module_paths

NOTHING_SEEN: Mapping[str, Seen] = MappingProxyType({})


class KeptNodes(msgspec.Struct, frozen=True):
    """Nodes of one module that stay in float32 for one reason; operator -> how many."""

    module: str
    why: str
    operators: dict[str, int]


class Constants(msgspec.Struct, frozen=True):
    """What became of the float32 constants of one graph; names of those it is said of.

    too_large: whose readers stay in float32. lost: name -> how many numbers became zero.
    subnormal: numbers that lost digits, of all constants. not_finite: with NaN or infinities.
    """

    bytes_before: int
    bytes_after: int
    too_large: tuple[str, ...]
    lost: dict[str, int]
    subnormal: int
    not_finite: tuple[str, ...]


class Conversion(msgspec.Struct, frozen=True):
    """What was done to one graph."""

    precision: str
    nodes: int
    kept_nodes: int
    casts: int
    operators: dict[str, int]
    kept: tuple[KeptNodes, ...]
    constants: Constants


class ConvertPrecision(GraphPass):
    """Compute in a narrow format where the numbers allow it, in float32 elsewhere.

    1. MatMul, Conv, Attention and the like are narrow; what stands between them goes with them.
    2. Normalizations, softmax, sums, powers, divisions by computed numbers, positions and angles
       stay in float32 (`mmedge.graph.precision.sensitive`); so do branches and loops, and
       operators whose ONNX schema does not take the format.
    3. So does every node that held a number near the end of the format on real inputs (`seen`),
       or reads a constant that the format does not hold.
    4. What stands for minus infinity in a mask becomes half of the format's lowest number.
    5. Inputs and outputs keep their types; constants are converted once, casts are shared.
    """

    def __init__(self, precision: str, seen: Mapping[str, Seen] = NOTHING_SEEN) -> None:
        super().__init__()
        if precision not in FORMATS:
            raise ValueError(f"{precision!r} is none of {', '.join(FORMATS)}")
        self._narrow = FORMATS[precision]
        self._seen = seen

    def call(self, model: ir.Model) -> Outcome:
        """Convert in place; `what` says how many nodes, and why the others are left."""
        done = convert(model, self._narrow, self._seen)
        what = [f"{done.nodes} nodes compute in {self._narrow.name}, with {done.casts} casts"]
        what += [
            f"{part.module or 'the model itself'} keeps {sum(part.operators.values())}"
            f" in float32: {part.why}"
            for part in done.kept
        ]
        return Outcome(model, bool(done.nodes), what)


def convert(
    model: ir.Model,
    narrow: NarrowFormat,
    seen: Mapping[str, Seen] = NOTHING_SEEN,
    *,
    boundary: Collection[str] = (),
) -> Conversion:
    """Convert `model` in place and say what was done.

    seen: what each value held on real inputs. boundary: names of its float32 inputs and outputs
        that become narrow too; the others keep their types.
    Raises GraphError where the type of a value is not known.
    """
    _check_types(model)
    before = initializer_bytes(model)
    types = OperatorTypes(model, narrow, boundary)
    decision = decide(model, narrow, types, seen)
    said = _kept(decision)
    operators = _count(decision.narrow)
    converter = Converter(
        model,
        decision,
        narrow,
        types,
        masked=masked_values(model.graph, seen),
    )
    converter.convert()
    inherit_module_paths(model)
    return Conversion(
        precision=narrow.name,
        nodes=len(decision.narrow),
        kept_nodes=len(decision.kept),
        casts=converter.casts,
        operators=operators,
        kept=said,
        constants=_constants(decision, narrow, before, initializer_bytes(model)),
    )


def _check_types(model: ir.Model) -> None:
    """Every value has a type, or none could be converted rightly."""
    if _untyped(model):
        from onnx_ir.passes.common import ShapeInferencePass

        ShapeInferencePass()(model)
    lost = _untyped(model)
    if lost:
        raise GraphError(
            f"the types of {len(lost)} values are not known",
            found=", ".join(str(value.name) for value in lost[:10]),
            expected="a type for every value, to convert it or leave it",
        )


def _untyped(model: ir.Model) -> list[ir.Value]:
    made = [value for node in model.graph for value in node.outputs if value.name != ""]
    return [value for value in (*model.graph.inputs, *made) if value.type is None]


def _kept(decision: Decision) -> tuple[KeptNodes, ...]:
    groups: dict[tuple[str, str], list[ir.Node]] = {}
    for node, why in decision.kept.items():
        module = node.metadata_props.get(MODULE_PATH, "")
        groups.setdefault((module, why), []).append(node)
    return tuple(KeptNodes(module, why, _count(set(g))) for (module, why), g in groups.items())


def _count(nodes: set[ir.Node]) -> dict[str, int]:
    names = [node.op_type for node in nodes if any(map(is_float32, (*node.inputs, *node.outputs)))]
    return {name: names.count(name) for name in sorted(set(names))}


def _constants(decision: Decision, narrow: NarrowFormat, before: int, after: int) -> Constants:
    facts = decision.weights
    return Constants(
        bytes_before=before,
        bytes_after=after,
        too_large=tuple(n for n, f in facts.items() if f.largest > narrow.largest),
        lost={name: fact.lost for name, fact in facts.items() if fact.lost},
        subnormal=sum(fact.subnormal for fact in facts.values()),
        not_finite=tuple(name for name, fact in facts.items() if fact.not_finite),
    )
