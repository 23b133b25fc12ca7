"""LLaVA-NeXT's tiles are put together as upstream does, for images of any size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from mmedge_export.huggingface.substitutes import substituted
from mmedge_export.huggingface.substitutes.llava_next import framed, without_padding
from transformers.models.llava_next import modeling_llava_next as upstream

from mmedge.errors import ExportError

TILE, SIDE = 336, 24
RESOLUTIONS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
EDGE = st.one_of(st.integers(1, 40), st.integers(1, 20_000))


@given(height=EDGE, width=EDGE)
def test_grids_and_crops_are_upstreams(height: int, width: int) -> None:
    size = (height, width)
    assume(upstream.select_best_resolution(size, RESOLUTIONS) is not None)
    rows, columns = upstream.get_anyres_image_grid_shape(size, RESOLUTIONS, TILE)
    sizes = torch.tensor([size])
    frames = framed(sizes, torch.tensor(RESOLUTIONS), tile=TILE)
    assert frames.tolist() == [[rows, columns]]
    number = torch.arange(rows * SIDE * columns * SIDE).reshape(1, rows * SIDE, columns * SIDE)
    expected = upstream.unpad_image(number, size)
    found = without_padding(sizes, frames, side=SIDE)
    assert (int(found.high), int(found.wide)) == expected.shape[1:]
    if expected.numel():
        corner = int(found.top) * columns * SIDE + int(found.left)
        assert corner == int(expected[0, 0, 0])


@pytest.fixture(scope="module")
def model(checkpoint: Callable[[str], Path]) -> Any:
    return zoo.load(checkpoint("llava_next"))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.tuples(st.integers(5, 200), st.integers(5, 200)), min_size=1, max_size=3))
@torch.no_grad()
def test_features_are_upstreams_and_come_first(model: Any, sizes: list[tuple[int, int]]) -> None:
    config = model.config
    tile = config.vision_config.image_size
    counts = [
        upstream.image_size_to_num_patches(size, config.image_grid_pinpoints, tile)
        for size in sizes
    ]
    pixels = torch.randn(len(sizes), max(counts), 3, tile, tile)
    image_sizes = torch.tensor(sizes)
    expected = torch.cat(model.get_image_features(pixels, image_sizes).pooler_output)
    with substituted(model):
        (found,) = model.get_image_features(pixels, image_sizes).pooler_output
    torch.testing.assert_close(found[: len(expected)], expected, rtol=1e-4, atol=1e-4)


def test_a_changed_helper_is_refused(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "unpad_image", framed)
    with pytest.raises(ExportError, match="unpad_image is not the function"), substituted(model):
        pass
