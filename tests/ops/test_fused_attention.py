"""The reference of FusedAttention against PyTorch's own attention and masks made by hand."""

from __future__ import annotations

import math

import msgspec
import pytest
import torch
from hypothesis import given, settings

from mmedge.errors import GraphError
from mmedge.ops.fused_attention import FusedAttention, fused_attention
from tests.ops.attention_cases import Case, cases

PLAIN = FusedAttention(num_heads=2, kv_num_heads=1, scale=0.5)


def by_pytorch(case: Case) -> torch.Tensor:
    """scaled_dot_product_attention with every mask spelled out; rows that see nothing are 0."""
    attention, given = case.attention, case.tensors
    query, key, value = (given[name].double() for name in ("Q", "K", "V"))
    heads, shared = attention.num_heads, attention.kv_num_heads
    bias = given["bias"].double() if attention.has_bias else torch.zeros(1, 1, 1, 1).double()
    mask = bias.masked_fill(~case.visible(), -math.inf)
    mask = mask.expand(len(query), -1, query.shape[1], key.shape[1])
    made = torch.nn.functional.scaled_dot_product_attention(
        query.unflatten(2, (heads, -1)).transpose(1, 2),
        key.unflatten(2, (shared, -1)).transpose(1, 2),
        value.unflatten(2, (shared, -1)).transpose(1, 2),
        attn_mask=mask,
        scale=attention.scale,
        enable_gqa=True,
    )
    return made.nan_to_num(0).transpose(1, 2).flatten(2)


@settings(max_examples=80, deadline=None)
@given(cases())
def test_it_computes_what_pytorch_does(case: Case) -> None:
    found = fused_attention(case.attention, case.in_order, exact=True)
    torch.testing.assert_close(found, by_pytorch(case))


def test_the_result_has_the_type_of_the_query() -> None:
    tensors = [
        torch.randn(2, 3, 8).half(),
        torch.randn(2, 5, 4).half(),
        torch.randn(2, 5, 4).half(),
    ]
    assert fused_attention(PLAIN, tensors).dtype == torch.float16
    exact = fused_attention(PLAIN, tensors, exact=True)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(
        fused_attention(PLAIN, tensors).double(), exact, rtol=1e-3, atol=1e-3
    )


def test_a_row_that_sees_no_key_gives_zero() -> None:
    attention = msgspec.structs.replace(PLAIN, causal=2)
    tensors = [torch.randn(1, 4, 8), torch.randn(1, 2, 4), torch.full((1, 2, 4), math.nan)]
    assert (fused_attention(attention, tensors)[0, :2] == 0).all()


def test_keys_beyond_the_length_are_not_read() -> None:
    attention = msgspec.structs.replace(PLAIN, len_mode=1)
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    key[0, 2:], value[0, 2:], value[1] = math.nan, math.inf, math.nan
    found = fused_attention(attention, [query, key, value, torch.tensor([2, 0]).int()])
    assert found.isfinite().all()
    assert (found[1] == 0).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_heads": 0}, "num_heads"),
        ({"kv_num_heads": 3}, "kv_num_heads"),
        ({"scale": 0.0}, "scale"),
        ({"scale": math.nan}, "scale"),
        ({"causal": 3}, "causal"),
        ({"has_bias": 2}, "has_bias"),
        ({"len_mode": 3}, "len_mode"),
    ],
)
def test_attributes_that_are_not_allowed_are_named(change: dict[str, float], named: str) -> None:
    with pytest.raises(GraphError, match=f"this {named}"):
        msgspec.structs.replace(PLAIN, **change).check()


@pytest.mark.parametrize(
    ("change", "shapes", "named"),
    [
        ({}, [(2, 3, 8), (2, 5, 4)], "inputs"),
        ({}, [(2, 3, 7), (2, 5, 4), (2, 5, 4)], "Q"),
        ({}, [(2, 2, 3, 4), (2, 5, 4), (2, 5, 4)], "Q"),
        ({}, [(2, 3, 8), (1, 5, 4), (2, 5, 4)], "K"),
        ({}, [(2, 3, 8), (2, 5, 8), (2, 5, 8)], "K"),
        ({}, [(2, 3, 8), (2, 5, 4), (2, 6, 4)], "V"),
        ({"has_bias": 1}, [(2, 3, 8), (2, 5, 4), (2, 5, 4), (2, 1, 1, 5)], "bias"),
        ({"has_bias": 1}, [(2, 3, 8), (2, 5, 4), (2, 5, 4), (3, 1, 3, 5)], "bias"),
        ({"len_mode": 2}, [(2, 3, 8), (2, 5, 4), (2, 5, 4), (2,), (2,)], "Q"),
        ({"len_mode": 2}, [(3, 8), (5, 4), (5, 4), (2,), (3,)], "cu_q and cu_k"),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    change: dict[str, int], shapes: list[tuple[int, ...]], named: str
) -> None:
    attention = msgspec.structs.replace(PLAIN, **change)
    lengths = [torch.zeros(shape) for shape in shapes]
    with pytest.raises(GraphError, match=f"this {named}"):
        fused_attention(attention, lengths)


@pytest.mark.parametrize(
    ("mode", "lengths", "named"),
    [
        (1, [[2, 6]], "kv_len"),
        (1, [[-1, 5]], "kv_len"),
        (2, [[0, 2, 3], [0, 5, 4]], "cu_k"),
        (2, [[1, 3], [0, 5]], "cu_q"),
    ],
)
def test_lengths_outside_of_their_tensors_are_named(
    mode: int, lengths: list[list[int]], named: str
) -> None:
    batch = 1 if mode == 2 else 2
    tensors = [torch.zeros(batch, 3, 8), torch.zeros(batch, 5, 4), torch.zeros(batch, 5, 4)]
    attention = msgspec.structs.replace(PLAIN, len_mode=mode)
    with pytest.raises(GraphError, match=f"this {named}"):
        fused_attention(attention, tensors + [torch.tensor(x).int() for x in lengths])


def test_types_that_differ_are_named() -> None:
    with pytest.raises(GraphError, match="this V"):
        fused_attention(
            PLAIN, [torch.zeros(1, 1, 8), torch.zeros(1, 1, 4), torch.zeros(1, 1, 4).half()]
        )
