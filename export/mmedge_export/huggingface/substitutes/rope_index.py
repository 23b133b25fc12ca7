"""Qwen-VL's positions of a prompt: text counts up, an image's features have time, row and column.

Upstream walks through each text, run by run of equal token types. Here every token's position
follows from cumulative sums: a text token moves on by one, an image as far as its longer edge.
Videos are refused: no input of ours makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmedge.errors import ExportError
from mmedge_export.huggingface.substitutes.substitute import Substitute

IMAGE = 1


def get_rope_index(
    self: Any,
    input_ids: Tensor,
    mm_token_type_ids: Tensor,
    image_grid_thw: Tensor | None = None,
    video_grid_thw: Tensor | None = None,
    attention_mask: Tensor | None = None,
    **_kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Positions int64 [3, batch, length], and [batch, 1]: by how much a next one is ahead."""
    if video_grid_thw is not None or image_grid_thw is None:
        raise ExportError("positions are known for images, not for videos", found="video_grid_thw")
    seen = torch.ones_like(input_ids) if attention_mask is None else attention_mask != 0
    seen = seen.to(torch.int64)
    # Tokens that are seen, side by side: padding has no position.
    place = torch.where(
        seen != 0, seen.cumsum(1) - 1, seen.sum(1, keepdim=True) + (1 - seen).cumsum(1) - 1
    )
    types = torch.zeros_like(seen).scatter(1, place, mm_token_type_ids.to(torch.int64) * seen)
    merge = self.config.vision_config.spatial_merge_size
    merged = torch.stack([image_grid_thw[:, 0], *(image_grid_thw[:, 1:] // merge).unbind(1)], dim=1)
    compact = image_positions(types == IMAGE, merged)
    found = compact.gather(2, place.expand(3, -1, -1)) * seen
    ahead = found.amax(dim=(0, 2)) + 1 - seen.sum(1)
    return found, ahead[:, None]


def image_positions(is_image: Tensor, grids: Tensor) -> Tensor:
    """Positions [3, batch, length] of tokens of which `is_image` [batch, length] says the type.

    grids: int64 [images of all texts, 3], in features; each run of image tokens takes the next.
    """
    runs = _runs(is_image, grids)
    longest = torch.maximum(runs.rows, runs.columns)
    steps = torch.where(is_image, longest * runs.begins, 1)
    before = steps.cumsum(1) - steps
    start = torch.where(runs.begins != 0, before, before - longest)
    area = runs.rows * runs.columns
    along = (
        runs.inside // area,
        runs.inside % area // runs.columns,
        runs.inside % runs.columns,
    )
    return torch.stack([torch.where(is_image, start + part, before) for part in along])


@dataclass(frozen=True)
class _Runs:
    """For each token, [batch, length]: does a run of image tokens begin; its place; the shape."""

    begins: Tensor
    inside: Tensor
    rows: Tensor
    columns: Tensor


def _runs(is_image: Tensor, grids: Tensor) -> _Runs:
    flags = is_image.to(torch.int64)
    begins = flags * (1 - torch.nn.functional.pad(flags, (1, 0))[:, :-1])
    number = (begins.flatten().cumsum(0) - 1).clamp(min=0, max=grids.shape[0] - 1)
    at = torch.arange(flags.shape[1], device=flags.device).expand_as(flags)
    first = torch.zeros_like(grids[:, 0]).scatter_add(0, number, (at * begins).flatten())
    shape = grids[number].reshape(*flags.shape, 3)
    inside = at - first[number].reshape(flags.shape)
    return _Runs(begins, inside, shape[..., 1], shape[..., 2])


SUBSTITUTES = tuple(
    Substitute(
        module=f"transformers.models.{name}.modeling_{name}",
        kind=kind,
        method="get_rope_index",
        source_sha256=sha256,
        version="5.23.0",
        replacement=get_rope_index,
    )
    for name, kind, sha256 in (
        (
            "qwen2_vl",
            "Qwen2VLModel",
            "2dfcc876ef0060f67072fe9e3c49a2acbbdbec8ecf89c48ebeb4ef9cff06808f",
        ),
        (
            "qwen2_5_vl",
            "Qwen2_5_VLModel",
            "c8ee3ef7bd02674546e45cd9715a86392618c4813ed06d8536cc2f7fcc43929b",
        ),
    )
)
