"""Positions of Qwen-VL's prompts are upstream's, for any images and any padding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmedge_export.huggingface.substitutes.rope_index import SUBSTITUTES, get_rope_index
from torch import Tensor
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel

from mmedge.errors import ExportError

MERGE = 2
VISION = SimpleNamespace(spatial_merge_size=MERGE, tokens_per_second=2)
KINDS = (Qwen2VLModel, Qwen2_5_VLModel)
# An image's frames, rows and columns of features, and the text that follows it.
IMAGE = st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
# The text before the first image, then the images.
ROW = st.tuples(st.integers(1, 3), st.lists(IMAGE, max_size=3))


def stand_in(kind: type) -> Any:
    """As much of the model as its positions depend on."""
    stand = SimpleNamespace(config=SimpleNamespace(vision_config=VISION))
    for method in ("get_rope_index", "get_vision_position_ids"):
        setattr(stand, method, getattr(kind, method).__get__(stand))
    return stand


def batch_of(rows: Any, *, left: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Types and masks of padded rows, and the grids of all images."""
    types, grids = [], []
    for before, images in rows:
        row = [0] * before
        for frames, high, wide, after in images:
            row += [1] * (frames * high * wide) + [0] * after
            grids.append((frames, high * MERGE, wide * MERGE))
        types.append(row)
    longest = max(map(len, types))
    gaps = [[0] * (longest - len(row)) for row in types]
    padded = [gap + row if left else row + gap for row, gap in zip(types, gaps, strict=True)]
    ones = [[1] * len(row) for row in types]
    masks = [gap + row if left else row + gap for row, gap in zip(ones, gaps, strict=True)]
    return torch.tensor(padded), torch.tensor(masks), torch.tensor(grids)


@pytest.mark.parametrize("kind", KINDS)
@given(
    rows=st.lists(ROW, min_size=1, max_size=3).filter(lambda rows: any(r[1] for r in rows)),
    left=st.booleans(),
    masked=st.booleans(),
)
def test_positions_are_upstreams(kind: type, rows: Any, left: bool, masked: bool) -> None:
    types, mask, grids = batch_of(rows, left=left)
    model = stand_in(kind)
    given_mask = mask if masked else None
    expected = model.get_rope_index(types, types, grids, None, attention_mask=given_mask)
    found = get_rope_index(model, types, types, grids, None, attention_mask=given_mask)
    assert all(map(torch.equal, found, expected))


def test_videos_are_refused() -> None:
    types, _, grids = batch_of([(1, [(1, 2, 2, 1)])], left=True)
    with pytest.raises(ExportError, match="not for videos"):
        get_rope_index(stand_in(Qwen2VLModel), types, types, grids, grids)


@pytest.mark.parametrize("kind", KINDS)
def test_it_stands_for_the_function_that_is_installed(kind: type) -> None:
    found = [(s, s.owner_in([kind])) for s in SUBSTITUTES if s.owner_in([kind])]
    ((substitute, owner),) = found
    assert owner is kind
    with substitute.active(owner), substitute.active(owner):
        assert vars(kind)["get_rope_index"] is get_rope_index
    assert vars(kind)["get_rope_index"] is not get_rope_index
