"""What a target's TensorRT refuses in a graph: all of it at once, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mmedge.artifact import MODULE_PATH
from mmedge.backends.tensorrt.limits import exceeds
from mmedge.capabilities import Table, capabilities, version_of
from mmedge.errors import BuildError
from mmedge.optional import require
from mmedge.targets import TensorRTSettings

if TYPE_CHECKING:
    import onnx_ir as ir

# As many modules of one complaint as a person reads.
MOST_MODULES = 6


class Unsupported(msgspec.Struct, frozen=True):
    """A node that the target's engines do not take.

    operator: with its domain, if that is not ONNX's own. module: where in the user's model it is
    from, "" for the model itself. why, hint: what is not taken, and what to do.
    """

    operator: str
    module: str
    node: str
    why: str
    hint: str


def check_graphs(graphs: Mapping[str, Path], settings: TensorRTSettings, *, target: str) -> None:
    """Raise BuildError with everything in the components' graphs that the target does not take."""
    found = {name: unsupported_nodes(path, settings) for name, path in graphs.items()}
    refused = {name: nodes for name, nodes in found.items() if nodes}
    if not refused:
        return
    table = capabilities(settings)
    hints = dict.fromkeys(node.hint for nodes in refused.values() for node in nodes)
    raise BuildError(
        f"{table.title} {settings.version} of target {target!r} does not take parts of the model",
        found="\n".join(line for name, nodes in refused.items() for line in _lines(name, nodes)),
        hint="\n".join(hints),
    )


def unsupported_nodes(
    model: ir.Model | str | Path, settings: TensorRTSettings
) -> list[Unsupported]:
    """Every node of a graph that the library of `settings` refuses, in the graph's order.

    Types and sizes that the graph does not state are not held against it. ProjectError for a
    version of which nothing is known.
    """
    table = capabilities(settings)
    graph = _load(model) if isinstance(model, str | Path) else model
    found = list(_opset(graph, table))
    for node in _nodes(graph):
        if node.op_identifier() in graph.functions:  # its body is looked at instead
            continue
        for why, hint in _complaints(node, table, settings):
            operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            module = node.metadata_props.get(MODULE_PATH, "")
            found.append(Unsupported(operator, module, node.name or "", why, hint))
    return found


def _load(path: str | Path) -> ir.Model:
    require("onnx_ir", purpose="checking graphs")
    import onnx_ir as ir

    return ir.load(path)


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Of the graph, of bodies of control flow, and of functions."""
    import onnx_ir as ir

    yield from ir.traversal.RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from ir.traversal.RecursiveGraphIterator(function)


def _opset(model: ir.Model, table: Table) -> Iterator[Unsupported]:
    version = model.opset_imports.get("", 0)
    (row,) = table.opsets
    if version and not row.oldest <= version <= row.newest:
        why = f"opset {row.oldest} to {row.newest} is parsed"
        yield Unsupported(f"opset {version}", "", "", why, f"--opset {row.newest}")


def _complaints(
    node: ir.Node, table: Table, settings: TensorRTSettings
) -> Iterator[tuple[str, str]]:
    """Why this node is not taken, and what to do; nothing where it is."""
    row = table.taken(node.domain, node.op_type)
    if row is None:
        yield "the operator is not taken", table.hint(node.op_type)
        return
    given = node.inputs[row.typed_input] if len(node.inputs) > row.typed_input else None
    kind = _type(given)
    if kind and row.types and kind not in row.types:
        yield f"{kind} is not taken, {', '.join(row.types)} are", "cast to one of them before it"
    gpu = version_of(settings.compute_capability)
    for format_ in table.types:
        for name in {_type(value) for value in (*node.inputs, *node.outputs)}:
            if name in format_.names and gpu < version_of(format_.least):
                why = f"{name} needs compute capability {format_.least}"
                yield f"{why}, not {settings.compute_capability}", "choose another precision"
    for limit in table.limits:
        if node.op_type in limit.operators and exceeds(node, limit):
            yield limit.why, limit.hint


def _type(value: ir.Value | None) -> str:
    return "" if value is None or value.dtype is None else value.dtype.name.lower()


def _lines(component: str, nodes: list[Unsupported]) -> Iterator[str]:
    """A line for each kind of complaint about a component, with the modules it is about."""
    kinds: dict[tuple[str, str], dict[str, None]] = {}
    for node in nodes:
        kinds.setdefault((node.operator, node.why), {})[node.module or "the model itself"] = None
    for (operator, why), modules in kinds.items():
        named = ", ".join(list(modules)[:MOST_MODULES])
        more = len(modules) - MOST_MODULES
        yield f"{component}: {operator} in {named}{f' and {more} more' * (more > 0)}: {why}"
