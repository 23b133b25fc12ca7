"""Store each weight once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from mmedge.graph.passes.base import GraphPass, Outcome
from mmedge.tensors import Array

# A smaller weight is not worth a Transpose at run time.
MIN_TRANSPOSED_BYTES = 1024


class DedupeWeights(GraphPass):
    """Share initializers with the same values, also where one is stored transposed.

    1. Initializers of one graph with equal dtype, shape and bytes become one, under the name of
       the first.
    2. In the main graph, of two matrices W and V = W.T of at least 1 KiB one is kept and the
       other becomes Transpose(kept), so that a tied embedding and LM head exist once. The kept
       one is the one that a Gather reads (a lookup cannot read a transposed table), else the
       first. FoldConstants leaves that Transpose alone: folding it would free nothing.

    Initializers that are graph inputs or outputs, and strings, are left. Only weights whose
    shape occurs twice are hashed, one at a time.
    """

    def call(self, model: ir.Model) -> Outcome:
        """Share in place; `what` states the bytes saved."""
        identical = [n for graph in model.graphs() for n in _share_identical(graph)]
        transposed = _share_transposed(model.graph)
        what = []
        if identical:
            what.append(
                f"shared {len(identical)} identical weights: {sum(identical):,} bytes saved"
            )
        what += [
            f"{name} is {kept} transposed: {size:,} bytes saved" for name, kept, size in transposed
        ]
        return Outcome(model, bool(what), what)


class _Key(NamedTuple):
    dtype: ir.DataType
    shape: tuple[int, ...]


def _share_identical(graph: ir.Graph) -> list[int]:
    """Bytes of each initializer that was replaced by an equal one."""
    groups: dict[_Key, list[ir.Value]] = defaultdict(list)
    for value in _sharable(graph):
        groups[_key(value)].append(value)
    saved = []
    for group in groups.values():
        kept: dict[bytes, ir.Value] = {}
        for value in group if len(group) > 1 else []:
            first = kept.setdefault(_digest(_array(value)), value)
            if first is not value:
                saved.append(_nbytes(value))
                _replace(graph, value, first)
    return saved


def _share_transposed(graph: ir.Graph) -> list[tuple[str, str, int]]:
    """(name, name of the one that is kept, bytes saved) of each matrix that was replaced."""
    matrices = [v for v in _sharable(graph) if len(_key(v).shape) == 2]
    matrices = [v for v in matrices if _nbytes(v) >= MIN_TRANSPOSED_BYTES]
    shapes = {_key(v) for v in matrices}
    matrices = [v for v in matrices if _transposed(_key(v)) in shapes]
    by_digest = {(_key(v), _digest(_array(v))): v for v in matrices}
    saved = []
    gone: set[ir.Value] = set()
    for value in matrices:
        if value in gone:
            continue
        other = by_digest.get((_transposed(_key(value)), _digest(_array(value).T)))
        if other is None or other is value or other in gone:
            continue
        kept, dropped = (
            (other, value) if _is_table(other) and not _is_table(value) else (value, other)
        )
        saved.append((str(dropped.name), str(kept.name), _nbytes(dropped)))
        _replace(graph, dropped, _transpose_node(graph, kept, dropped))
        gone |= {kept, dropped}
    return saved


def _sharable(graph: ir.Graph) -> Iterable[ir.Value]:
    return [
        value
        for value in graph.initializers.values()
        if value.const_value is not None
        and value.const_value.dtype != ir.DataType.STRING
        and not value.is_graph_input()
        and not value.is_graph_output()
    ]


def _replace(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    old.replace_all_uses_with(new)
    name = str(old.name)
    graph.initializers.pop(name)
    if new.name is None:
        new.name = name


def _transpose_node(graph: ir.Graph, kept: ir.Value, like: ir.Value) -> ir.Value:
    """Transpose(kept), at the start of the graph; it takes the name of the weight it replaces."""
    node = ir.node("Transpose", [kept], attributes={"perm": [1, 0]}, name=f"{like.name}_transpose")
    result = node.outputs[0]
    result.type, result.shape = like.type, like.shape
    graph.insert_before(graph[0], node)
    return result


def _is_table(value: ir.Value) -> bool:
    return any(node.op_type == "Gather" and index == 0 for node, index in value.uses())


def _key(value: ir.Value) -> _Key:
    tensor = value.const_value
    assert tensor is not None
    return _Key(tensor.dtype, tuple(tensor.shape.numpy()))


def _transposed(key: _Key) -> _Key:
    return _Key(key.dtype, key.shape[::-1])


def _array(value: ir.Value) -> Array:
    assert value.const_value is not None
    return value.const_value.numpy()


def _nbytes(value: ir.Value) -> int:
    assert value.const_value is not None
    return value.const_value.nbytes


def _digest(array: Array) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).digest()
