"""Bags of embeddings are what torch makes of them, without a loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmedge.graph.embedding_bags import as_lookups

modes = st.sampled_from(["sum", "mean", "max"])


@settings(deadline=None, max_examples=60)
@given(modes, st.integers(1, 5), st.integers(1, 6), st.sampled_from([None, 0, 3, -1]), st.data())
def test_it_is_what_torch_makes(
    mode: str, bags: int, length: int, padding: int | None, data: st.DataObject
) -> None:
    torch.manual_seed(bags * 10 + length)
    module = nn.EmbeddingBag(6, 4, mode=mode, padding_idx=padding)
    nn.init.normal_(module.weight)
    row = st.lists(st.integers(0, 5), min_size=length, max_size=length)
    ids = torch.tensor(data.draw(st.lists(row, min_size=bags, max_size=bags)))
    wanted = module(ids)
    with as_lookups():
        found = module(ids)
    torch.testing.assert_close(found, wanted)


def test_weights_of_ids() -> None:
    module, ids = nn.EmbeddingBag(6, 4, mode="sum"), torch.randint(0, 6, (3, 5))
    weights = torch.rand(3, 5)
    wanted = module(ids, per_sample_weights=weights)
    with as_lookups():
        torch.testing.assert_close(module(ids, per_sample_weights=weights), wanted)


def test_a_bag_of_padding_is_zero() -> None:
    for mode in ("sum", "mean", "max"):
        module = nn.EmbeddingBag(6, 4, mode=mode, padding_idx=2)
        with as_lookups():
            assert not module(torch.full((1, 3), 2)).any()


@pytest.mark.parametrize("options", [{}, {"max_norm": 1.0}])
def test_bags_of_unequal_size_are_left_to_torch(options: dict[str, float]) -> None:
    module = nn.EmbeddingBag(6, 4, **options)
    ids, offsets = torch.tensor([1, 2, 3, 4]), torch.tensor([0, 3])
    wanted = module(ids, offsets)
    with as_lookups():
        torch.testing.assert_close(module(ids, offsets), wanted)


def test_afterwards_torch_is_as_it_was() -> None:
    before = nn.functional.embedding_bag
    with as_lookups():
        assert nn.functional.embedding_bag is not before
    assert nn.functional.embedding_bag is before
