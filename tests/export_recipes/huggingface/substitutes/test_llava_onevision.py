"""LLaVA-OneVision's features are upstream's, for images of any size, many tiles or few."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmedge_export.huggingface.substitutes import substituted
from mmedge_export.huggingface.substitutes.llava_next import Cropped
from mmedge_export.huggingface.substitutes.llava_onevision import thinned
from transformers.models.llava_onevision import modeling_llava_onevision as upstream

from mmedge.errors import ExportError

GRIDS = [[32 * rows, 32 * columns] for rows in range(1, 5) for columns in range(1, 5)]


@pytest.fixture(scope="module")
def model(checkpoint: Callable[[str], Path]) -> Any:
    """With grids of up to sixteen tiles."""
    loaded = zoo.load(checkpoint("llava_onevision"))
    loaded.model.config.image_grid_pinpoints = GRIDS
    return loaded


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.tuples(st.integers(5, 300), st.integers(5, 300)), min_size=1, max_size=3),
    most=st.integers(1, 9),
    alone=st.booleans(),
)
@torch.no_grad()
def test_features_are_upstreams_and_come_first(
    model: Any, sizes: list[tuple[int, int]], most: int, alone: bool
) -> None:
    inner = model.model
    tile = inner.config.vision_config.image_size
    counts = [upstream.image_size_to_num_patches(size, GRIDS, tile) for size in sizes]
    given: dict[str, Any] = {
        "pixel_values": torch.randn(len(sizes), max(counts), 3, tile, tile),
        "image_sizes": torch.tensor(sizes),
        "vision_aspect_ratio": f"anyres_max_{most}",
        "batch_num_images": torch.tensor([1] * len(sizes) if alone else [len(sizes)]),
    }
    expected = torch.cat(inner.get_image_features(**given).pooler_output)
    with substituted(model):
        (found,) = inner.get_image_features(**given).pooler_output
    torch.testing.assert_close(found[: len(expected)], expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=300)
@given(high=st.integers(1, 6 * 27), wide=st.integers(1, 6 * 27), most=st.integers(1, 36))
def test_numbers_that_are_cut_off_are_pythons(high: int, wide: int, most: int) -> None:
    """A quotient that is rounded up to a whole number would be one too many."""
    side = 27
    nothing = torch.zeros(1, 1, dtype=torch.int64)
    edges = [torch.tensor([[edge]]) for edge in (high, wide)]
    lines = thinned(Cropped(side, nothing, nothing, nothing, *edges), most=most)
    ratio = math.sqrt(high * wide / (most * side**2))
    expected = (int(high // ratio), int(wide // ratio)) if ratio > 1.1 else (high, wide)
    assert (int(lines.high), int(lines.wide)) == expected


@pytest.mark.parametrize("tiles", range(2, 7))
def test_whole_grids_that_are_resized(tiles: int) -> None:
    """Their quotients are whole numbers, all but the last bit."""
    test_numbers_that_are_cut_off_are_pythons.hypothesis.inner_test(tiles * 27, tiles * 27, 9)


def test_tiles_of_all_images_in_a_row_are_refused(model: Any) -> None:
    with substituted(model), pytest.raises(ExportError, match="tiles of its own"):
        model.model.get_image_features(torch.zeros(3, 3, 32, 32), torch.tensor([[32, 32]]))


def test_a_changed_helper_is_refused(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "unpad_image", copy.copy)
    with pytest.raises(ExportError, match="unpad_image is not the function"), substituted(model):
        pass
