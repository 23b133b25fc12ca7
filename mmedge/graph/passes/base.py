"""What a graph pass is, and how passes are run so that none can break its promise unseen."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec
import onnx_ir as ir

from mmedge.errors import GraphError
from mmedge.graph.passes.check import Signature, check_onnx, check_outputs, run_outputs
from mmedge.graph.provenance import MODULE_PATH, all_nodes, inherit_module_paths
from mmedge.tensors import Array


class PassRecord(msgspec.Struct, frozen=True):
    """What one pass did to one graph, as the report states it."""

    name: str
    nodes_before: int
    nodes_after: int
    initializer_bytes_before: int
    initializer_bytes_after: int
    changed: bool
    what: list[str]
    """Sentences such as "folded 3 constants", and what was looked for and left, with the reason."""
    max_abs_difference: float | None = None
    """Largest difference in any output; None where no feeds were given."""


@dataclasses.dataclass
class Outcome(ir.passes.PassResult):
    """A PassResult that says in sentences what was done."""

    what: list[str] = dataclasses.field(default_factory=list)


class GraphPass(ir.passes.InPlacePass):
    """A pass whose class docstring is its specification.

    A pass is stateless: one instance serves any number of graphs. It may set `drops_inputs` to
    declare that it removes graph inputs that nothing uses; otherwise the graph's signature is
    invariant.
    """

    drops_inputs: ClassVar[bool] = False


def run_passes(
    model: ir.Model,
    passes: Iterable[ir.passes.PassBase],
    *,
    feeds: Mapping[str, Array] | None = None,
) -> tuple[ir.Model, list[PassRecord]]:
    """Run `passes` in order on `model`, in place, and check each one.

    After each pass new nodes have a module path, the ONNX checker accepts the graph, and input
    and output names, dtypes and order are what they were. With `feeds` (input name -> array) the
    graph also runs before and after in ONNX Runtime without optimisation, and the outputs must
    agree (see `check_outputs` for the tolerance).

    Raises:
        GraphError: names the pass and what it broke. The graph is then in an unknown state.
    """
    records: list[PassRecord] = []
    outputs = None if feeds is None else run_outputs(model, feeds, where="before any pass")
    for graph_pass in passes:
        name = type(graph_pass).__name__
        before = _State.of(model)
        result = _run(graph_pass, model, name)
        model = result.model
        inherit_module_paths(model, replaced=before.paths)
        before.signature.restore_output_shapes(model)
        drops_inputs = getattr(graph_pass, "drops_inputs", False)
        before.signature.check(model, drops_inputs=drops_inputs, where=name)
        check_onnx(model, where=name)
        difference = None
        if feeds is not None and outputs is not None:
            after = run_outputs(model, feeds, where=f"after {name}")
            difference = check_outputs(outputs, after, where=name)
            outputs = after
        records.append(_record(name, before, result, difference))
    return model, records


def count_nodes(model: ir.Model) -> Counter[str]:
    """Operator type -> number of nodes, in all graphs and functions."""
    return Counter(node.op_type for node in all_nodes(model))


def initializer_bytes(model: ir.Model) -> int:
    """Bytes of weights stored in the model, in the main graph and in subgraphs."""
    tensors = (v.const_value for g in model.graphs() for v in g.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def describe_counts(counts: Mapping[str, int]) -> str:
    """{"Cast": 2, "Shape": 1} -> "2 Cast, 1 Shape"."""
    return ", ".join(f"{n} {op}" for op, n in sorted(counts.items()) if n > 0)


def _run(graph_pass: ir.passes.PassBase, model: ir.Model, name: str) -> ir.passes.PassResult:
    try:
        return graph_pass(model)
    except GraphError:
        raise
    except Exception as error:
        raise GraphError(f"graph pass {name} failed", found=repr(error), where=name) from error


@dataclasses.dataclass(frozen=True)
class _State:
    """What a pass is compared with afterwards."""

    signature: Signature
    paths: dict[str, str]
    counts: Counter[str]
    initializer_bytes: int

    @classmethod
    def of(cls, model: ir.Model) -> _State:
        paths = {
            value.name: node.metadata_props[MODULE_PATH]
            for node in all_nodes(model)
            if MODULE_PATH in node.metadata_props
            for value in node.outputs
            if value.name
        }
        return cls(Signature.of(model), paths, count_nodes(model), initializer_bytes(model))


def _record(
    name: str, before: _State, result: ir.passes.PassResult, difference: float | None
) -> PassRecord:
    counts = count_nodes(result.model)
    return PassRecord(
        name=name,
        nodes_before=before.counts.total(),
        nodes_after=counts.total(),
        initializer_bytes_before=before.initializer_bytes,
        initializer_bytes_after=initializer_bytes(result.model),
        changed=bool(result.modified),
        what=_what(result, before.counts, counts),
        max_abs_difference=difference,
    )


def _what(result: ir.passes.PassResult, before: Counter[str], after: Counter[str]) -> list[str]:
    if isinstance(result, Outcome):
        return result.what
    if not result.modified:
        return []
    removed, added = describe_counts(before - after), describe_counts(after - before)
    lines = [f"removed {removed}"] * bool(removed) + [f"added {added}"] * bool(added)
    return lines or ["rewired nodes"]
