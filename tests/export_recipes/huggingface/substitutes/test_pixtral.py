"""Pixtral's and Mistral 3's features are upstream's, for images of any size on any canvas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from mmedge_export.huggingface.feature_encoder import FeatureEncoder
from mmedge_export.huggingface.substitutes import substituted

from mmedge.errors import ExportError

NAMES = ("pixel_values", "image_sizes")


@pytest.fixture(scope="module", params=["pixtral", "mistral3"])
def model(request: pytest.FixtureRequest, checkpoint: Callable[[str], Path]) -> Any:
    return zoo.load(checkpoint(request.param))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edges=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3),
    margin=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
@torch.no_grad()
def test_features_are_upstreams_and_come_first(
    model: Any, edges: list[tuple[int, int]], margin: tuple[int, int]
) -> None:
    assume(edges != [(1, 1)])  # upstream squeezes a single feature away, and fails
    merge = getattr(model.config, "spatial_merge_size", 1)
    unit = model.config.vision_config.patch_size * merge
    sizes = torch.tensor(edges) * unit
    high, wide = (int(size) for size in sizes.amax(0) + torch.tensor(margin) * unit)
    pixels = torch.randn(len(edges), 3, high, wide)
    expected = torch.cat(model.get_image_features(pixels, image_sizes=sizes).pooler_output)
    found = FeatureEncoder(model, "get_image_features", NAMES, flat=frozenset())(pixels, sizes)
    rows = found.flatten(0, 1)[: len(expected)]
    # Random weights amplify the rounding of sums in another order; a wrong place moves it by all.
    assert (rows - expected).abs().max() <= 1e-3 * expected.abs().max()


def test_without_sizes_it_is_refused(checkpoint: Callable[[str], Path]) -> None:
    tower = zoo.load(checkpoint("pixtral")).model.vision_tower
    with substituted(tower), pytest.raises(ExportError, match="need their sizes"):
        tower(torch.zeros(1, 3, 16, 16))
