"""Positions, frames and windows of patches, computed at once, are those of upstream's loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmedge_export.huggingface import patch_grids as grids_module
from mmedge_export.huggingface.patch_grids import (
    STANDS_FOR,
    frame_ends,
    patch_grids,
    positions,
    windows,
)
from torch import Tensor, nn
from transformers import vision_utils

from mmedge.errors import ExportError, ProjectError

MERGES = st.integers(1, 3)
# Frames, and rows and columns of features.
SHAPES = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4
)


def grids_of(shapes: list[tuple[int, int, int]], merge: int) -> tuple[Tensor, int]:
    grids = torch.tensor([(t, rows * merge, columns * merge) for t, rows, columns in shapes])
    return grids, int(grids.prod(1).sum())


@given(shapes=SHAPES, merge=MERGES)
def test_positions_are_upstreams(shapes: list[tuple[int, int, int]], merge: int) -> None:
    grids, patches = grids_of(shapes, merge)
    expected = vision_utils.get_vision_position_ids(grids, merge)
    assert torch.equal(positions(grids, patches, merge=merge), expected)


@given(shapes=SHAPES, merge=MERGES)
def test_frames_end_where_upstreams_do(shapes: list[tuple[int, int, int]], merge: int) -> None:
    grids, patches = grids_of(shapes, merge)
    expected = vision_utils.get_vision_cu_seqlens(grids)
    ends = frame_ends(grids, patches)
    assert ends.shape == (patches + 1,)
    assert ends.unique_consecutive().tolist() == expected.tolist()


@given(shapes=SHAPES, merge=MERGES, window=st.integers(1, 4), patch=st.integers(1, 3))
def test_windows_are_upstreams(
    shapes: list[tuple[int, int, int]], merge: int, window: int, patch: int
) -> None:
    grids, patches = grids_of(shapes, merge)
    order, ends = windows(grids, patches, merge=merge, window=window)
    expected = vision_utils.get_vision_window_index(grids, merge, window * merge * patch, patch)
    assert torch.equal(order, expected[0])
    assert ends.unique_consecutive().tolist() == expected[1].tolist()


def test_patches_that_no_grid_accounts_for_do_no_harm() -> None:
    grids = torch.tensor([[1, 2, 4]])
    assert positions(grids, 16, merge=2).shape == (16, 2)
    assert frame_ends(grids, 16)[-1] == 16


class Encoder(nn.Module):
    """Has the attributes of an encoder of patches."""

    def __init__(self, **attributes: object) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


def test_an_encoder_says_how_it_merges() -> None:
    assert patch_grids(nn.Sequential(Encoder(spatial_merge_size=2))).window is None
    windowed = patch_grids(Encoder(spatial_merge_size=2, window_size=112, patch_size=14))
    assert (windowed.merge, windowed.window) == (2, 4)


@pytest.mark.parametrize("attributes", [{}, {"spatial_merge_size": 2, "num_grid_per_side": 48}])
def test_an_encoder_that_needs_more_is_refused(attributes: dict[str, int]) -> None:
    with pytest.raises(ProjectError, match="more than positions in a grid"):
        patch_grids(Encoder(**attributes))


@pytest.mark.parametrize("name", [upstream.name for upstream in STANDS_FOR])
def test_another_upstream_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vision_utils, name, grids_of)
    with pytest.raises(ExportError, match=f"{name} is not the function") as caught:
        patch_grids(Encoder(spatial_merge_size=2))
    assert "pip install transformers==" in str(caught.value.details["try"])
    monkeypatch.delattr(vision_utils, name)
    with pytest.raises(ExportError, match="source none"):
        grids_module.patch_grids(Encoder(spatial_merge_size=2))
