"""Decomposing an exported program only where ONNX has no form of an operation.

torch's exporter traces the whole program a second time to replace the few operations it has no
translation for, which took 35 to 45% of an export (transformers' decoders, torch 2.13). Where the
program changes nothing in place and every such operation is one of those below, replacing these
nodes gives the same graph; any other program takes torch's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from mmedge.optional import require
from mmedge.replaced import replaced

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

Rewrite = Callable[["torch.fx.Node"], None]


@contextmanager
def only_where_needed() -> Iterator[None]:
    """While active, torch's ONNX exporter retraces a program only if `decompose` can't do it."""

    def where_needed(retrace: Any) -> Any:
        def decompose_or_retrace(program: ExportedProgram, registry: Any) -> ExportedProgram:
            done: bool = decompose(program, registry)
            return program if done else retrace(program, registry)

        return decompose_or_retrace

    passes = require("torch.onnx._internal.exporter._fx_passes")
    # Another version of torch may not have it: slower, and as good.
    with replaced(passes, "decompose_with_registry", where_needed):
        yield


def decompose(program: ExportedProgram, registry: Any) -> bool:
    """Replace what ONNX has no form of, in place; False, and nothing changed, if that can't be."""
    from torch.onnx._internal.exporter import _decomp, _fx_passes

    translated = set(_decomp.get_onnx_implemented_overloads(registry))
    rewrites = _rewrites()
    todo = []
    for node in program.graph.nodes:
        if node.target in rewrites:
            todo.append(node)
        elif node.op == "get_attr" or _changes_its_input(node):
            return False  # a graph inside this one, or a program that is not functional
        elif node.op == "call_function" and not _stays(node, translated):
            return False
    # A node that is an output is known to the signature by its name.
    renamed = program.graph_signature.get_replace_hook()
    with program.graph_module._set_replace_hook(renamed):
        for node in todo:
            rewrites[node.target](node)
    _fx_passes.remove_assertion_nodes(program.graph_module)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return True


def _stays(node: torch.fx.Node, translated: set[Any]) -> bool:
    """The exporter translates it or removes it, or it is arithmetic on sizes."""
    import torch

    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        checks = ("_assert", "sym_constrain_range")
        return target in translated or target._opname.startswith(checks)
    return not isinstance(target, torch._ops.HigherOrderOperator)


def _changes_its_input(node: torch.fx.Node) -> bool:
    import torch

    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _rewrites() -> dict[Any, Rewrite]:
    """By operation, what replaces a node of it."""
    import torch

    aten = torch.ops.aten
    same = (aten.detach, aten.detach_, aten.lift_fresh, aten.lift_fresh_copy, aten.alias)
    casts = (aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.to.other)
    renamed = {
        aten.__and__.Tensor: aten.bitwise_and.Tensor,
        aten.__and__.Scalar: aten.bitwise_and.Scalar,
        aten.__or__.Tensor: aten.bitwise_or.Tensor,
        aten.__or__.Scalar: aten.bitwise_or.Scalar,
        aten.__xor__.Tensor: aten.bitwise_xor.Tensor,
        aten.__xor__.Scalar: aten.bitwise_xor.Scalar,
    }
    return {
        **dict.fromkeys((operation.default for operation in same), _skip),
        **dict.fromkeys(casts, _cast),
        aten.chunk.default: _skip_single_chunk,
        **{old: partial(_rename, target=new) for old, new in renamed.items()},
    }


def _skip(node: torch.fx.Node) -> None:
    """Where nothing changes in place, an alias or a copy is the tensor itself."""
    node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]  # a Tensor, by its schema
    node.graph.erase_node(node)


def _cast(node: torch.fx.Node) -> None:
    """`to`, whatever its form, as the copy in another dtype that it is, or as nothing."""
    import torch

    source: Any = node.args[0]
    dtype = node.meta["val"].dtype
    if source.meta["val"].dtype == dtype:
        _skip(node)
        return
    node.target = torch.ops.aten._to_copy.default
    node.args, node.kwargs = (source,), {"dtype": dtype}


def _skip_single_chunk(node: torch.fx.Node) -> None:
    """One chunk is the tensor itself; the exporter (2.13) would take it for a sequence."""
    source, chunks, *_ = node.args
    if chunks != 1:
        return
    for user in list(node.users):
        user.replace_all_uses_with(source)  # type: ignore[arg-type]  # a Tensor, by its schema
        node.graph.erase_node(user)
    node.graph.erase_node(node)


def _rename(node: torch.fx.Node, *, target: Any) -> None:
    """The same arguments for another name of the operation."""
    node.target = target
