"""Attentions with inputs of every kind, and which keys each of their queries sees."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from hypothesis import strategies as st

from mmedge.ops.fused_attention import LENGTHS_OF_KEYS, LENGTHS_PACKED, FusedAttention


@dataclass(frozen=True)
class Case:
    """Attributes and their inputs by name."""

    attention: FusedAttention
    tensors: dict[str, torch.Tensor]

    @property
    def in_order(self) -> list[torch.Tensor]:
        """As a node takes them."""
        return [self.tensors[name] for name in self.attention.inputs]

    def visible(self) -> torch.Tensor:
        """[batch, 1, queries, keys], one pair after the other."""
        batch, queries, _ = self.tensors["Q"].shape
        keys = self.tensors["K"].shape[1]
        pairs = [
            [[self._sees(b, i, j) for j in range(keys)] for i in range(queries)]
            for b in range(batch)
        ]
        return torch.tensor(pairs, dtype=torch.bool).reshape(batch, 1, queries, keys)

    def _sees(self, row: int, query: int, key: int) -> bool:
        queries, keys = self.tensors["Q"].shape[1], self.tensors["K"].shape[1]
        if self.attention.len_mode == LENGTHS_OF_KEYS:
            keys = int(self.tensors["kv_len"][row])
            if key >= keys:
                return False
        if self.attention.len_mode == LENGTHS_PACKED:
            sequence, query, queries = _place(self.tensors["cu_q"].tolist(), query)
            other, key, keys = _place(self.tensors["cu_k"].tolist(), key)
            if sequence != other:
                return False
        return key <= query + (0, 0, keys - queries)[self.attention.causal] or (
            self.attention.causal == 0
        )


def _place(bounds: list[int], number: int) -> tuple[int, int, int]:
    """(sequence, number within it, its length) of a row of packed sequences."""
    for sequence, (start, stop) in enumerate(pairwise(bounds)):
        if start <= number < stop:
            return sequence, number - start, stop - start
    raise AssertionError(f"{number} is in none of {bounds}")


@st.composite
def cases(draw: st.DrawFn, dtype: torch.dtype = torch.float32) -> Case:
    """Small ones, with every kind of bias, lengths, causality and sharing of heads."""
    shared, group, size = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 9))
    mode, has_bias = draw(st.integers(0, 2)), draw(st.integers(0, 1))
    attention = FusedAttention(
        num_heads=shared * group,
        kv_num_heads=shared,
        scale=draw(st.sampled_from((0.125, 0.5, 1.0))),
        causal=draw(st.integers(0, 2)),
        has_bias=has_bias,
        len_mode=mode,
    )
    batch = 1 if mode == LENGTHS_PACKED else draw(st.integers(1, 3))
    queries, keys = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    tensors = {
        "Q": torch.randn(batch, queries, shared * group * size, dtype=dtype),
        "K": torch.randn(batch, keys, shared * size, dtype=dtype),
        "V": torch.randn(batch, keys, shared * size, dtype=dtype),
    }
    if has_bias:
        rows, heads = draw(st.sampled_from((1, batch))), draw(st.sampled_from((1, shared * group)))
        tensors["bias"] = torch.randn(rows, heads, queries, keys, dtype=dtype)
    if mode == LENGTHS_OF_KEYS:
        lengths = draw(st.lists(st.integers(0, keys), min_size=batch, max_size=batch))
        tensors["kv_len"] = torch.tensor(lengths, dtype=torch.int32)
    if mode == LENGTHS_PACKED:
        cuts = draw(st.integers(0, 2))
        for name, most in (("cu_q", queries), ("cu_k", keys)):
            inner = draw(st.lists(st.integers(0, most), min_size=cuts, max_size=cuts))
            tensors[name] = torch.tensor([0, *sorted(inner), most], dtype=torch.int32)
    return Case(attention, tensors)
