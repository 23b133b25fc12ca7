"""Images in a row: features of an encoder that never cuts the row are upstream's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmedge_export.huggingface.feature_encoder import GRIDS, FeatureEncoder
from mmedge_export.huggingface.packed_attention import forwards_kept
from mmedge_export.huggingface.transformers_aid import transformers_aid
from torch import Tensor
from transformers.exporters import exporter_dynamo  # noqa: F401  (its patches register)
from transformers.exporters import utils as exporting

NAMES = ("pixel_values", GRIDS)
VALUES = 384
# Rows and columns of features of the images of one example.
SHAPES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3)


@pytest.fixture(scope="session", params=["qwen2_vl", "qwen2_5_vl"])
def model(request: pytest.FixtureRequest, checkpoint: Callable[[str], Path]) -> Any:
    return _loaded(checkpoint(request.param))


@cache
def _loaded(directory: Path) -> Any:
    return zoo.load(directory)


def encoder_of(model: Any) -> FeatureEncoder:
    return FeatureEncoder(model, "get_image_features", NAMES, flat=frozenset(NAMES))


def images_of(shapes: list[tuple[int, int]], *, turned: bool) -> tuple[Tensor, Tensor]:
    """Two examples of one number of patches: the second's images may lie on their sides."""
    first = [(1, 2 * rows, 2 * columns) for rows, columns in shapes]
    second = [(t, wide, high) for t, high, wide in reversed(first)] if turned else first
    grids = torch.tensor([first, second])
    patches = int(grids[0].prod(1).sum())
    return torch.randn(2, patches, VALUES, generator=torch.Generator().manual_seed(0)), grids


def upstreams(model: Any, pixels: Tensor, grids: Tensor) -> Tensor:
    features = model.get_image_features(pixels.flatten(0, 1), grids.flatten(0, 1))
    return torch.cat(features.pooler_output).reshape(2, -1, features.pooler_output[0].shape[-1])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes=SHAPES, turned=st.booleans())
@torch.no_grad()
def test_features_are_upstreams(model: Any, shapes: list[tuple[int, int]], turned: bool) -> None:
    pixels, grids = images_of(shapes, turned=turned)
    found = encoder_of(model)(pixels, grids)
    torch.testing.assert_close(found, upstreams(model, pixels, grids), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_one_export_takes_other_images(model: Any) -> None:
    batch, patches, images = (torch.export.Dim(n) for n in ("batch", "patches", "images"))
    shapes = (({0: batch, 1: 4 * patches}, {0: batch, 1: images}),)
    encoder = encoder_of(model)
    example = images_of([(2, 3), (3, 2)], turned=True)
    with transformers_aid(model).substituted():
        program = torch.export.export(encoder, example, dynamic_shapes=shapes, strict=False)
    for others in ([(5, 2)], [(1, 4), (4, 2), (3, 3)]):
        pixels, grids = images_of(others, turned=True)
        found = program.module()(pixels, grids)
        torch.testing.assert_close(found, upstreams(model, pixels, grids), rtol=1e-4, atol=1e-4)


def test_attention_within_pieces_is_not_patched(model: Any) -> None:
    kind = type(model.model.visual.blocks[0].attn)
    before = kind.forward
    with exporting.apply_patches("dynamo"):
        assert kind.forward is not before, "upstream patches it no more: `forwards_kept` can go"
    with forwards_kept(model, lambda: exporting.apply_patches("dynamo")):
        assert kind.forward is before
    assert kind.forward is before
