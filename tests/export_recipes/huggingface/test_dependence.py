"""Inputs that matter are told from those that do not."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmedge_export.huggingface.dependence import depends


@given(rows=st.integers(1, 3), columns=st.integers(1, 4), value=st.integers(0, 3))
def test_ids_that_are_all_the_same_matter_all_the_same(rows: int, columns: int, value: int) -> None:
    ids = torch.full((rows, columns), value)
    inputs = {"ids": ids, "other": ids}
    assert depends(lambda i: [i["ids"] * 2], inputs, "ids")
    assert not depends(lambda i: [i["ids"] * 2], inputs, "other")


def test_order_matters_to_what_sums_are_blind_to() -> None:
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert depends(lambda i: [i["ids"][:, :1]], {"ids": ids}, "ids")


def test_the_size_of_an_input_is_no_dependence() -> None:
    inputs = {"x": torch.randn(2, 3)}
    assert not depends(lambda i: [torch.ones(i["x"].shape[0], 4)], inputs, "x")
    assert depends(lambda i: [torch.ones(2), i["x"]], inputs, "x")


def test_numbers_of_any_seed_are_changed() -> None:
    torch.manual_seed(0)
    assert depends(lambda i: [i["x"]], {"x": torch.randn(2, 3)}, "x")
