"""SigLIP2's table of positions, resized for all pictures at once, is upstream's one by one."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from mmedge_export.huggingface.substitutes import substituted
from mmedge_export.huggingface.substitutes.siglip2 import resized_positions
from transformers import Siglip2VisionConfig, Siglip2VisionModel
from transformers.models.siglip2.modeling_siglip2 import Siglip2VisionEmbeddings

HIGH, WIDE = st.integers(1, 24), st.integers(2, 24)
upstream = Siglip2VisionEmbeddings.resize_positional_embeddings


@given(
    sizes=st.lists(st.tuples(HIGH, WIDE), min_size=1, max_size=4),
    side=st.integers(1, 9),
    spare=st.integers(0, 5),
)
def test_the_positions_are_upstreams_for_pictures_of_any_shape(
    sizes: list[tuple[int, int]], side: int, spare: int
) -> None:
    table = torch.randn(side, side, 3, generator=torch.Generator().manual_seed(0))
    longest = max(high * wide for high, wide in sizes) + spare
    shapes = torch.tensor(sizes)
    found = resized_positions(table, shapes, longest)
    torch.testing.assert_close(found, upstream(table, shapes, longest), rtol=1e-5, atol=1e-5)


@given(high=st.integers(1, 24), side=st.integers(1, 9))
def test_a_picture_one_patch_wide_is_one_patch_high_turned(high: int, side: int) -> None:
    """Torch's own answer depends on the layout of the table; for the mirror image it does not."""
    table = torch.randn(side, side, 3, generator=torch.Generator().manual_seed(0))
    found = resized_positions(table, torch.tensor([[high, 1]]), high)
    turned = upstream(table.transpose(0, 1).contiguous(), torch.tensor([[1, high]]), high)
    torch.testing.assert_close(found, turned, rtol=1e-5, atol=1e-5)


def test_it_stands_for_the_function_that_is_installed() -> None:
    config = Siglip2VisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_patches=16,
        patch_size=4,
    )
    model = Siglip2VisionModel(config).eval()
    shapes = torch.tensor([[2, 5], [3, 3]])
    given = {"pixel_values": torch.randn(2, 12, 48), "spatial_shapes": shapes}
    given["pixel_attention_mask"] = torch.arange(12) < shapes.prod(1)[:, None]
    with torch.no_grad():
        expected = model(**given).pooler_output
        with substituted(model):
            assert Siglip2VisionEmbeddings.resize_positional_embeddings is resized_positions
            found = model(**given).pooler_output
    assert Siglip2VisionEmbeddings.resize_positional_embeddings is upstream
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
