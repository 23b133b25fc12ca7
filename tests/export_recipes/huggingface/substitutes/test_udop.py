"""UDOP's patches among the words, sorted for all pages at once, are upstream's page by page."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmedge_export.huggingface.substitutes import substituted
from mmedge_export.huggingface.substitutes.udop import combined
from torch import nn
from transformers import UdopConfig
from transformers.models.udop import modeling_udop

from mmedge.errors import ExportError

upstream = modeling_udop.combine_image_text_embeddings
SIDE, PATCH, HIDDEN = 3, 4, 5
SIZES = {"num_patches": SIDE, "image_size": SIDE * PATCH, "patch_size": PATCH}
# The page's edges among them: what is there is no word.
EDGE = st.sampled_from([0.0, 0.1, 0.35, 0.5, 0.8, 1.0])
BOX = st.lists(EDGE, min_size=4, max_size=4)


@given(
    boxes=st.integers(1, 6).flatmap(
        lambda words: st.lists(
            st.lists(BOX, min_size=words, max_size=words), min_size=1, max_size=3
        )
    ),
    seed=st.integers(0, 99),
    masked=st.booleans(),
)
def test_words_and_patches_are_upstreams(
    boxes: list[list[list[float]]], seed: int, masked: bool
) -> None:
    made = torch.Generator().manual_seed(seed)
    bbox = torch.tensor(boxes)
    pages, words, _ = bbox.shape
    patches = torch.randn(pages, SIDE * SIDE, HIDDEN, generator=made)
    text = torch.randn(pages, words, HIDDEN, generator=made)
    mask = torch.randint(0, 2, (pages, words), generator=made) if masked else None
    # Upstream adds to the words in place.
    expected = upstream(patches, text.clone(), bbox, None, mask, **SIZES)
    found = combined(patches, text, bbox, None, mask, **SIZES)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_places_of_patches_may_be_given() -> None:
    patches, text = torch.randn(2, SIDE * SIDE, HIDDEN), torch.randn(2, 4, HIDDEN)
    bbox, places = torch.rand(2, 4, 4), torch.rand(2, SIDE * SIDE, 4)
    expected = upstream(patches, text.clone(), bbox, places, None, **SIZES)
    torch.testing.assert_close(combined(patches, text, bbox, places, None, **SIZES), expected)


def test_a_length_to_cut_to_is_refused() -> None:
    patches, text = torch.randn(1, SIDE * SIDE, HIDDEN), torch.randn(1, 4, HIDDEN)
    with pytest.raises(ExportError, match="cut to a length"):
        combined(patches, text, torch.rand(1, 4, 4), None, max_len=6, **SIZES)


def test_a_function_of_a_module_is_replaced_and_put_back() -> None:
    small = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    model = modeling_udop.UdopPatchEmbeddings(UdopConfig(**small, image_size=8, patch_size=4))
    with substituted(model):
        assert modeling_udop.combine_image_text_embeddings is combined
    assert modeling_udop.combine_image_text_embeddings is upstream
    with substituted(nn.Linear(1, 1)):
        assert modeling_udop.combine_image_text_embeddings is upstream
