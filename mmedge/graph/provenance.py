"""Which PyTorch module each graph node came from, in the user's own names.

Reports, errors and profiles say `encoder.layers.3.attn`, never `node_MatMul_87`. The path is
written once, after export, and every pass keeps it: `mmedge.graph.passes.run_passes` fills in
the nodes that a pass creates.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import onnx_ir as ir

from mmedge.errors import GraphError

MODULE_PATH = "mmedge.module"

_NAME_SCOPES = "pkg.torch.onnx.name_scopes"
_RULE_NAME = "pkg.onnxscript.rewriter.rule_name"
# torch.export gives nodes that it invents (sym_size, ...) a module stack of this one name.
_SYNTHETIC = "_empty_nn_module_stack"
# torch.export writes the second call of one module as `layer@1`.
_CALL_INDEX = re.compile(r"@\d+")


def stamp_module_paths(model: ir.Model, *, prefix: str = "") -> None:
    """Write MODULE_PATH on every node of `model`, of its subgraphs and of its functions.

    The path comes from the scopes that torch's exporter recorded. `prefix` is where the user's
    model sits inside the wrapper that was exported: with "model.", scope "model.i.c" becomes
    "i.c"; the wrapper's own nodes belong to the root, "". Nodes without scopes take the path of
    their consumers, else of their producers (see `inherit_module_paths`).
    """
    for node in all_nodes(model):
        path = _path_from_scopes(node, prefix)
        if path is not None:
            node.metadata_props[MODULE_PATH] = path
    inherit_module_paths(model)


def inherit_module_paths(model: ir.Model, *, replaced: Mapping[str, str] | None = None) -> None:
    """Give each unstamped node a path: of what it replaces, else of its neighbours.

    `replaced` maps value names to the paths of the nodes that produced them before a pass: a new
    node that produces the same value takes the same path. Otherwise the path is the closest
    common ancestor of the node's consumers, else of its producers, else the path of the node
    whose subgraph it is in or of the call of its function, else the root.
    """
    nodes = list(all_nodes(model))
    names = replaced or {}
    _fill(nodes, lambda node: [names[n] for v in node.outputs if (n := v.name or "") in names][:1])
    _fill(reversed(nodes), lambda node: _stamps(user for user, _ in _uses(node)))
    _fill(nodes, lambda node: _stamps(v.producer() for v in node.inputs if v is not None))
    for body, owner in _bodies(model):
        _fill(body, lambda _, owner=owner: _stamps([owner]))  # type: ignore[misc]
    _fill(nodes, lambda _: [""])


def module_path(node: ir.Node) -> str:
    """The path of the PyTorch module that `node` came from; "" is the model itself."""
    if MODULE_PATH not in node.metadata_props:
        raise GraphError(
            "a graph node does not say which module it came from",
            found=_describe(node),
            hint="call stamp_module_paths after export; run passes through run_passes",
        )
    return node.metadata_props[MODULE_PATH]


def modules_of(model: ir.Model) -> dict[str, list[ir.Node]]:
    """Module path -> its nodes in graph order. GraphError where a node has no path."""
    modules: dict[str, list[ir.Node]] = {}
    for node in all_nodes(model):
        modules.setdefault(module_path(node), []).append(node)
    return modules


def ensure_stamped(model: ir.Model) -> None:
    """Raise GraphError, listing them, if any node has no MODULE_PATH."""
    missing = [_describe(n) for n in all_nodes(model) if MODULE_PATH not in n.metadata_props]
    if missing:
        raise GraphError(
            f"{len(missing)} graph nodes do not say which module they came from",
            found="\n".join(missing[:20] + ["..."] * (len(missing) > 20)),
            hint="call stamp_module_paths after export; run passes through run_passes",
        )


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node: main graph, bodies of control flow (after the node they belong to), functions."""
    yield from ir.traversal.RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from ir.traversal.RecursiveGraphIterator(function)


def common_ancestor(paths: Iterable[str]) -> str:
    """The innermost module that contains all `paths`: "a.b.c", "a.b.d" -> "a.b"."""
    shared: list[str] | None = None
    for path in paths:
        parts = path.split(".") if path else []
        if shared is None:
            shared = parts
            continue
        same = [a == b for a, b in zip(shared, parts, strict=False)]
        shared = shared[: same.index(False) if False in same else len(same)]
    return ".".join(shared or [])


def _path_from_scopes(node: ir.Node, prefix: str) -> str | None:
    path = _scope_of_fused_weight(node) or _innermost_scope(node)
    if path is None or not prefix:
        return path
    return path[len(prefix) :] if path.startswith(prefix) else ""


def _innermost_scope(node: ir.Node) -> str | None:
    scopes = ast.literal_eval(node.metadata_props.get(_NAME_SCOPES, "[]"))
    # The last scope is the op's own name.
    if len(scopes) < 2 or scopes[0].startswith(_SYNTHETIC):
        return None
    return _CALL_INDEX.sub("", scopes[-2])


def _scope_of_fused_weight(node: ir.Node) -> str | None:
    """The module of a Conv or Gemm that took in a BatchNorm.

    torch's exporter gives it the BatchNorm's scopes; its weight keeps its own name.
    """
    if "FuseBatchNorm" not in node.metadata_props.get(_RULE_NAME, "") or len(node.inputs) < 2:
        return None
    weight = node.inputs[1]
    return str(weight.name).rpartition(".")[0] if weight is not None else None


def _fill(nodes: Iterable[ir.Node], candidates: Callable[[ir.Node], list[str]]) -> None:
    for node in nodes:
        if MODULE_PATH not in node.metadata_props and (paths := candidates(node)):
            node.metadata_props[MODULE_PATH] = common_ancestor(paths)


def _stamps(nodes: Iterable[ir.Node | None]) -> list[str]:
    found = (node.metadata_props.get(MODULE_PATH) for node in nodes if node is not None)
    return [path for path in found if path is not None]


def _uses(node: ir.Node) -> Iterator[tuple[ir.Node, int]]:
    for value in node.outputs:
        yield from value.uses()


def _bodies(model: ir.Model) -> Iterator[tuple[list[ir.Node], ir.Node]]:
    """(nodes of a subgraph or function, the node that owns or calls it), outermost first."""
    for node in list(all_nodes(model)):
        for attribute in node.attributes.values():
            if attribute.is_ref():
                continue
            if attribute.type == ir.AttributeType.GRAPH:
                yield list(attribute.as_graph()), node
            elif attribute.type == ir.AttributeType.GRAPHS:
                yield from ((list(graph), node) for graph in attribute.as_graphs())
        if (function := model.functions.get(node.op_identifier())) is not None:
            yield list(function), node


def _describe(node: ir.Node) -> str:
    outputs = ", ".join(value.name or "?" for value in node.outputs)
    return f"{node.op_type} {node.name or '(unnamed)'} -> {outputs}"
