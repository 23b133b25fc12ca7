"""`mmedge::FusedAttention` version 1: attention straight from the projections, no transposes.

Inputs, in this order, those that are not declared left out:

    Q      [B, Sq, H * D]       K, V [B, Skv, Hkv * D]      one floating-point type
    bias   [1|B, 1|H, Sq, Skv]  of that type; added to the scaled scores    (has_bias 1)
    kv_len [B] int32            row b has the keys 0 .. kv_len[b] - 1        (len_mode 1)
    cu_q, cu_k [B + 1] int32    sequences one after the other, Q [1, T, H * D], K and V
                                [1, Tk, Hkv * D], or without the leading 1   (len_mode 2)

Output: of the shape and type of Q. Query head h reads key head h // (H / Hkv). Key j is visible to
query i where j <= i (causal 1, upper-left), or where j <= i + keys - queries (causal 2,
lower-right), keys being those of the row or of the sequence. A query that sees no key gives 0.
A key outside of its row's length is never read, whatever it holds; NaN and infinities elsewhere
do what IEEE arithmetic makes of them, and a NaN among the values of a key that causality hides may
or may not reach the queries that do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from mmedge.errors import GraphError
from mmedge.optional import require

if TYPE_CHECKING:
    import torch

DOMAIN = "mmedge"
NAME = "FusedAttention"
VERSION = 1
# As `EnginePlan.plugins` names it.
PLUGIN = f"{DOMAIN}::{NAME}:{VERSION}"

CAUSAL_NONE, CAUSAL_UPPER_LEFT, CAUSAL_LOWER_RIGHT = 0, 1, 2
LENGTHS_NONE, LENGTHS_OF_KEYS, LENGTHS_PACKED = 0, 1, 2

OF_LENGTHS = {LENGTHS_NONE: (), LENGTHS_OF_KEYS: ("kv_len",), LENGTHS_PACKED: ("cu_q", "cu_k")}


class FusedAttention(msgspec.Struct, frozen=True):
    """The attributes of a node; see the module for what they mean."""

    num_heads: int
    kv_num_heads: int
    scale: float
    causal: int = CAUSAL_NONE
    has_bias: int = 0
    len_mode: int = LENGTHS_NONE

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a node with these attributes takes, in order."""
        bias = ("bias",) if self.has_bias else ()
        return ("Q", "K", "V", *bias, *OF_LENGTHS[self.len_mode])

    @property
    def attributes(self) -> dict[str, int | float | str]:
        """As the node carries them: TensorRT finds the plugin by the last two."""
        own = msgspec.structs.asdict(self)
        return {**own, "plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}

    def check(self, *, where: object = None) -> None:
        """Raise GraphError naming the first attribute that is not allowed."""
        allowed = {
            "num_heads": (self.num_heads >= 1, "1 or more"),
            "kv_num_heads": (
                self.kv_num_heads >= 1 and self.num_heads % self.kv_num_heads == 0,
                f"a divisor of num_heads {self.num_heads}",
            ),
            "scale": (math.isfinite(self.scale) and self.scale > 0, "a positive number"),
            "causal": (self.causal in range(3), "0 none, 1 upper-left, 2 lower-right"),
            "has_bias": (self.has_bias in range(2), "0 or 1"),
            "len_mode": (self.len_mode in OF_LENGTHS, "0 none, 1 kv_len, 2 cu_seqlens"),
        }
        for name, (fits, expected) in allowed.items():
            if not fits:
                raise _wrong(name, getattr(self, name), expected, where)

    def check_shapes(self, shapes: dict[str, Sequence[int]], *, where: object = None) -> None:
        """Raise GraphError unless there is a shape for each input and they fit together."""
        self.check(where=where)
        if tuple(shapes) != self.inputs:
            raise _wrong("inputs", ", ".join(shapes), ", ".join(self.inputs), where)
        query, key = list(shapes["Q"]), list(shapes["K"])
        ranks = (2, 3) if self.len_mode == LENGTHS_PACKED else (3,)
        if len(query) not in ranks or query[-1] % self.num_heads:
            raise _wrong("Q", query, f"[batch, queries, {self.num_heads} * size]", where)
        wide = query[-1] // self.num_heads * self.kv_num_heads
        if key != [*query[:-2], *key[-2:-1], wide]:
            raise _wrong("K", key, f"[{query[0]}, keys, {wide}]", where)
        if list(shapes["V"]) != key:
            raise _wrong("V", list(shapes["V"]), f"K's, {key}", where)
        self._check_bias(shapes, where)
        self._check_lengths(shapes, where)

    def _check_bias(self, shapes: dict[str, Sequence[int]], where: object) -> None:
        if not self.has_bias:
            return
        found, query, key = list(shapes["bias"]), shapes["Q"], shapes["K"]
        batch = query[0] if len(query) == 3 else 1
        broadcast = found[:1] in ([1], [batch]) and found[1:2] in ([1], [self.num_heads])
        if not broadcast or found[2:] != [query[-2], key[-2]]:
            expected = f"[1 or {batch}, 1 or {self.num_heads}, {query[-2]}, {key[-2]}]"
            raise _wrong("bias", found, expected, where)

    def _check_lengths(self, shapes: dict[str, Sequence[int]], where: object) -> None:
        if self.len_mode == LENGTHS_OF_KEYS and list(shapes["kv_len"]) != [shapes["Q"][0]]:
            raise _wrong("kv_len", list(shapes["kv_len"]), f"[{shapes['Q'][0]}]", where)
        if self.len_mode == LENGTHS_PACKED:
            query, key = list(shapes["cu_q"]), list(shapes["cu_k"])
            if len(query) != 1 or query != key or query[0] < 2:
                raise _wrong("cu_q and cu_k", f"{query} and {key}", "[sequences + 1] each", where)
            if len(shapes["Q"]) == 3 and shapes["Q"][0] != 1:
                raise _wrong("Q", list(shapes["Q"]), "packed rows: [1, rows, width]", where)


def fused_attention(
    attention: FusedAttention,
    tensors: Sequence[torch.Tensor],
    *,
    exact: bool = False,
) -> torch.Tensor:
    """The reference: slow and readable. tensors: in the order of `attention.inputs`.

    exact: compute and return float64; else float32 within, and the type of Q out of it.
    Raises GraphError where shapes, types or lengths do not fit.
    """
    given = dict(zip(attention.inputs, tensors, strict=False))
    attention.check_shapes({name: tuple(tensor.shape) for name, tensor in given.items()})
    _check_values(attention, given)
    torch = require("torch")
    compute = torch.float64 if exact else torch.float32
    query, key, value = given["Q"].to(compute), given["K"].to(compute), given["V"].to(compute)
    bias = given["bias"].to(compute) if attention.has_bias else None
    output = query.new_zeros(query.shape)
    for part in _rows(attention, given):
        row, queries, keys = part
        visible = None if bias is None else bias[row if len(bias) > 1 else 0, :, queries, keys]
        at = (row,) if query.dim() == 3 else ()
        output[(*at, queries)] = _one_row(
            attention, query[(*at, queries)], key[(*at, keys)], value[(*at, keys)], visible
        )
    return output if exact else output.to(given["Q"].dtype)


def _one_row(
    attention: FusedAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """One sequence: query [queries, H * D], key and value [keys, Hkv * D]."""
    queries, keys = len(query), len(key)
    if keys == 0:
        return query.new_zeros(query.shape)
    group = attention.num_heads // attention.kv_num_heads
    size = query.shape[-1] // attention.num_heads
    by_head = query.reshape(queries, attention.num_heads, size).transpose(0, 1)
    pairs = (x.reshape(keys, attention.kv_num_heads, size).transpose(0, 1) for x in (key, value))
    key, value = (x.repeat_interleave(group, dim=0) for x in pairs)
    scores = by_head @ key.transpose(1, 2) * attention.scale
    if bias is not None:
        scores = scores + bias
    if attention.causal:
        shift = keys - queries if attention.causal == CAUSAL_LOWER_RIGHT else 0
        numbers = require("torch").arange
        hidden = numbers(keys) > numbers(queries)[:, None] + shift
        scores = scores.masked_fill(hidden, -math.inf)
    blind = (scores == -math.inf).all(dim=-1, keepdim=True)
    weights = scores.softmax(dim=-1).masked_fill(blind, 0)
    # 0 * NaN is NaN, but a query that sees nothing gives 0.
    mixed = (weights @ value).masked_fill(blind, 0)
    return mixed.transpose(0, 1).flatten(1)


def _rows(
    attention: FusedAttention, given: dict[str, torch.Tensor]
) -> list[tuple[int, slice, slice]]:
    """(row of the batch, its queries, its keys) of every sequence."""
    if attention.len_mode == LENGTHS_PACKED:
        query, key = (given[name].tolist() for name in ("cu_q", "cu_k"))
        return [
            (0, slice(*query[i : i + 2]), slice(*key[i : i + 2])) for i in range(len(query) - 1)
        ]
    batch, most = len(given["Q"]), given["K"].shape[1]
    lengths = given["kv_len"].tolist() if "kv_len" in given else [most] * batch
    return [(row, slice(None), slice(0, lengths[row])) for row in range(batch)]


def _check_values(attention: FusedAttention, given: dict[str, torch.Tensor]) -> None:
    """Types, and lengths that are within their tensors."""
    for name, tensor in given.items():
        length = name in ("kv_len", "cu_q", "cu_k")
        expected = require("torch").int32 if length else given["Q"].dtype
        if tensor.dtype != expected or not (length or tensor.is_floating_point()):
            raise _wrong(name, tensor.dtype, "int32" if length else "Q's floating type", None)
    if "kv_len" in given:
        keys, found = given["K"].shape[1], given["kv_len"].tolist()
        if any(not 0 <= length <= keys for length in found):
            raise _wrong("kv_len", found, f"0 to {keys}", None)
    for name, rows in (("cu_q", "Q"), ("cu_k", "K")):
        if name in given:
            found, last = given[name].tolist(), given[rows].shape[-2]
            if found[0] != 0 or found[-1] != last or found != sorted(found):
                raise _wrong(name, found, f"0, ascending, to {last}", None)


def _wrong(what: str, found: Any, expected: str, where: object) -> GraphError:
    return GraphError(
        f"{DOMAIN}::{NAME} does not take this {what}", found=found, expected=expected, where=where
    )
