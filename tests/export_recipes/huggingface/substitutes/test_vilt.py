"""ViLT's patches in their own order mean what upstream's in random order mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmedge_export.huggingface.substitutes import substituted
from mmedge_export.huggingface.substitutes.vilt import visual_embed
from transformers import ViltConfig, ViltModel

from mmedge.errors import ExportError

PATCH, SIDE = 4, 6
SIZE = st.integers(1, SIDE)
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 30,
    "image_size": PATCH * SIDE,
    "patch_size": PATCH,
    "max_position_embeddings": 12,
}


def model_of(longest: int) -> Any:
    torch.manual_seed(0)
    return ViltModel(ViltConfig(**SMALL, max_image_length=longest)).eval()


MODEL = model_of(-1)


@settings(max_examples=25)
@given(sizes=st.lists(st.tuples(SIZE, SIZE), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_the_answer_is_upstreams_for_images_of_any_size(
    sizes: list[tuple[int, int]], seed: int
) -> None:
    made = torch.Generator().manual_seed(seed)
    high, wide = (max(size[axis] for size in sizes) * PATCH for axis in (0, 1))
    mask = torch.zeros(len(sizes), high, wide, dtype=torch.int64)
    for row, (rows, columns) in zip(mask, sizes, strict=True):
        row[: rows * PATCH, : columns * PATCH] = 1
    inputs = {
        "input_ids": torch.randint(0, 30, (len(sizes), 7), generator=made),
        "pixel_values": torch.randn(len(sizes), 3, high, wide, generator=made) * mask[:, None],
        "pixel_mask": mask,
    }
    with torch.no_grad():
        expected = MODEL(**inputs)
        with substituted(MODEL):
            found = MODEL(**inputs)
    text = inputs["input_ids"].shape[1]
    states = (answer.last_hidden_state[:, :text] for answer in (found, expected))
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.pooler_output, expected.pooler_output, rtol=1e-4, atol=1e-5)


def test_patches_dropped_at_random_are_refused() -> None:
    model = model_of(4)
    pixels = torch.randn(1, 3, 8, 8)
    with pytest.raises(ExportError, match="at random"):
        visual_embed(model.embeddings, pixels, torch.ones(1, 8, 8), max_image_length=4)
