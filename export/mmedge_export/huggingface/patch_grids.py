"""Where each patch of a row of images stands, computed from the images' grids inside of the graph.

Encoders of the Qwen-VL kind take the patches of all images in a row, [patches, values], and a
grid (frames, rows, columns) for each image. Upstream computes what follows from the grids in
loops over their values; here it is integer arithmetic on the patches' numbers, so that grids may
differ from call to call. Patches that no grid accounts for count as the last image's.

The results go to upstream by the names under which its encoders take them precomputed
(`accepts_precomputed_kwargs`, transformers 5.23).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge_export.huggingface.segments import passed
from mmedge_export.huggingface.substitutes.upstream import Upstream

UTILITIES = "transformers.vision_utils"
VERSION = "5.23.0"
# What is computed here instead.
STANDS_FOR = (
    Upstream(
        UTILITIES,
        "get_vision_position_ids",
        "8ac4d99395f31a6d890534b9138f69d933ef8526162960ccfda62bc799409db8",
        VERSION,
    ),
    Upstream(
        UTILITIES,
        "get_vision_cu_seqlens",
        "efc6af7d177a041fe4886f33fbdcc0790c8e4261452db2bc9e939c72ce48ab17",
        VERSION,
    ),
    Upstream(
        UTILITIES,
        "get_vision_window_index",
        "e63401aa8d17c007dde2d7e9cfe0c9186cbd2445df05436df202281ebfec380e",
        VERSION,
    ),
)
# What an encoder that needs more than this module knows has among its attributes.
FOREIGN = ("num_grid_per_side", "merge_temporal", "include_temporal")


@dataclass(frozen=True)
class PatchGrids:
    """How an encoder arranges its patches.

    merge: that many patches along either edge become one feature, and follow one another.
    window: edge of the squares that see each other, in merged patches; None: whole frames.
    """

    merge: int
    window: int | None = None

    def arguments(self, grids: Tensor, patches: int) -> dict[str, Tensor]:
        """Arguments of `get_image_features`; grids: int64 [images, 3]."""
        made = {
            "image_position_ids": positions(grids, patches, merge=self.merge),
            "image_cu_seqlens": frame_ends(grids, patches),
        }
        if self.window is not None:
            order, ends = windows(grids, patches, merge=self.merge, window=self.window)
            made |= {"image_window_index": order, "image_cu_window_seqlens": ends}
        return made


def patch_grids(model: nn.Module) -> PatchGrids:
    """The arrangement of the one encoder in `model` that takes grids.

    Raises ExportError where upstream computes it by other functions than those known here.
    """
    for upstream in STANDS_FOR:
        upstream.check()
    found: dict[str, Any] = {}
    for module in model.modules():
        for name in ("spatial_merge_size", "window_size", "patch_size", *FOREIGN):
            if getattr(module, name, None):
                found.setdefault(name, getattr(module, name))
    foreign = [name for name in FOREIGN if name in found]
    if foreign or "spatial_merge_size" not in found:
        raise ProjectError(
            f"the image encoder of {type(model).__name__} takes more than positions in a grid",
            found=", ".join(foreign) or "no spatial_merge_size",
            hint="this architecture needs a recipe of its own",
        )
    return PatchGrids(found["spatial_merge_size"], _window(found))


def _window(found: Mapping[str, Any]) -> int | None:
    if "window_size" not in found:
        return None
    return int(found["window_size"] // found["spatial_merge_size"] // found["patch_size"])


@dataclass(frozen=True)
class _Placed:
    """For each patch, int64 [patches]: its number, its place in its frame, its frame's shape."""

    number: Tensor
    inside: Tensor
    rows: Tensor
    columns: Tensor


def _placed(grids: Tensor, patches: int) -> _Placed:
    number = torch.arange(patches, device=grids.device)
    counts = grids.prod(dim=1)
    ends = counts.cumsum(0)
    image = passed(ends, patches).clamp(max=grids.shape[0] - 1)
    rows, columns = grids[:, 1][image], grids[:, 2][image]
    inside = (number - (ends - counts)[image]) % (rows * columns)
    return _Placed(number, inside, rows, columns)


def positions(grids: Tensor, patches: int, *, merge: int) -> Tensor:
    """Row and column of each patch in its frame: int64 [patches, 2]."""
    placed = _placed(grids, patches)
    block, corner = placed.inside // merge**2, placed.inside % merge**2
    across = placed.columns // merge
    row = block // across * merge + corner // merge
    column = block % across * merge + corner % merge
    return torch.stack([row, column], dim=1)


def frame_ends(grids: Tensor, patches: int) -> Tensor:
    """Where the frame of each patch ends, after a 0: int64 [1 + patches].

    As cumulative lengths: a frame's first patch has its length, the others' segments are empty.
    """
    placed = _placed(grids, patches)
    ends = placed.number - placed.inside + placed.rows * placed.columns
    return nn.functional.pad(ends, (1, 0))


def windows(grids: Tensor, patches: int, *, merge: int, window: int) -> tuple[Tensor, Tensor]:
    """Merged patches in the order of their windows, and the ends of the windows, after a 0.

    int64 [merged patches]; int64 [1 + merged patches], in patches, as `frame_ends`.
    """
    merged = torch.stack([grids[:, 0], grids[:, 1] // merge, grids[:, 2] // merge], dim=1)
    placed = _placed(merged, patches // merge**2)
    row, column = placed.inside // placed.columns, placed.inside % placed.columns
    above, before = row // window * window, column // window * window
    height = (placed.rows - above).clamp(max=window)
    width = (placed.columns - before).clamp(max=window)
    start = placed.number - placed.inside + above * placed.columns + height * before
    rank = start + (row - above) * width + column - before
    order = torch.zeros_like(rank).scatter(0, rank, placed.number)
    ends = (start + height * width)[order] * merge**2
    return order, nn.functional.pad(ends, (1, 0))
