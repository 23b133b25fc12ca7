"""LLaVA-NeXT's features: an image's tiles put together, without what was padding, row by row.

Upstream cuts each image's features out by Python numbers. Here each place of the answer looks up
where it comes from; an image has as many places as the largest grid could need. Features come in
upstream's order, and after the last of them the places that were not needed, which no token of
the prompt stands for.

Numbers that upstream truncates are computed in double precision as Python does, so that they are
the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmedge.optional import require
from mmedge_export.huggingface.substitutes.substitute import Substitute
from mmedge_export.huggingface.substitutes.upstream import Upstream
from mmedge_export.huggingface.uncut_features import chosen_first

MODELING = "transformers.models.llava_next.modeling_llava_next"
VERSION = "5.23.0"
# Upstream rounds a length to so many decimals before it truncates it.
DECIMALS = 7


def get_image_features(
    self: Any,
    pixel_values: Tensor,
    image_sizes: Tensor,
    vision_feature_layer: int | list[int] | None = None,
    vision_feature_select_strategy: str | None = None,
    **_kwargs: Any,
) -> Any:
    """Features of images [images, tiles, 3, height, width] of sizes [images, 2], in one piece."""
    images = pixel_values.shape[0]
    config = self.config
    layer = config.vision_feature_layer if vision_feature_layer is None else vision_feature_layer
    strategy = vision_feature_select_strategy or config.vision_feature_select_strategy
    seen = self.vision_tower(pixel_values.flatten(0, 1), output_hidden_states=True)
    layers = [layer] if isinstance(layer, int) else layer
    states = torch.cat([seen.hidden_states[number] for number in layers], dim=-1)
    features = self.multi_modal_projector(states[:, 1:] if strategy == "default" else states)
    vision = self.config.vision_config
    resolutions = torch.tensor(self.config.image_grid_pinpoints)
    frames = framed(image_sizes, resolutions, tile=vision.image_size)
    cropped = without_padding(image_sizes, frames, side=vision.image_size // vision.patch_size)
    rows, wanted = _packed(features.unflatten(0, (images, -1)), cropped, self.image_newline)
    outputs = require("transformers.modeling_outputs")
    order = chosen_first(wanted.flatten())
    return outputs.BaseModelOutputWithPooling(pooler_output=[rows.flatten(0, 1)[order]])


def framed(sizes: Tensor, resolutions: Tensor, *, tile: int) -> Tensor:
    """Rows and columns of tiles of the grid that suits each image best: int64 [images, 2].

    The grid in which most of the image is left, and of these the one with least padding.
    """
    high, wide = sizes.double()[:, None].unbind(-1)
    scale = torch.minimum(resolutions[:, 1] / wide, resolutions[:, 0] / high)
    left = (wide * scale).long() * (high * scale).long()
    left = torch.minimum(left, sizes.prod(1, keepdim=True))
    wasted = resolutions.prod(1) - left
    best = (left * resolutions.prod(1).max() * 2 - wasted).argmax(1)
    return resolutions[best] // tile


@dataclass(frozen=True)
class Cropped:
    """Where an image is in its grid of tiles; int64 [images, 1], in features.

    side: edge of a tile. columns: of tiles.
    """

    side: int
    columns: Tensor
    top: Tensor
    left: Tensor
    high: Tensor
    wide: Tensor


def without_padding(sizes: Tensor, frames: Tensor, *, side: int) -> Cropped:
    """The part of each grid of tiles that is image."""
    high, wide = sizes.double().unbind(1)
    rows, columns = (frames * side).unbind(1)
    is_wide = wide / high > columns.double() / rows.double()
    new_high = _truncated(high * (columns / wide))
    new_wide = _truncated(wide * (rows / high))
    top = torch.where(is_wide, (rows - new_high) // 2, 0)
    left = torch.where(is_wide, 0, (columns - new_wide) // 2)
    parts = (frames[:, 1], top, left, rows - 2 * top, columns - 2 * left)
    return Cropped(side, *(part[:, None] for part in parts))


def _truncated(values: Tensor) -> Tensor:
    rounded = torch.round(values * 10**DECIMALS) / 10**DECIMALS
    whole: Tensor = rounded.long()
    return whole


def _packed(features: Tensor, cropped: Cropped, newline: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [images, places, hidden] and which of them there really are [images, places].

    features: [images, tiles, features of a tile, hidden], the whole image first.
    """
    tiles, area = features.shape[1], features.shape[2]
    side = cropped.side
    # No grid has more than a new line for every feature of a row.
    places = torch.arange((tiles - 1) * (area + side), device=features.device)[None]
    row, column = places // (cropped.wide + 1), places % (cropped.wide + 1)
    y, x = cropped.top + row, cropped.left + column
    tile = 1 + y // side * cropped.columns + x // side
    source = (tile * area + y % side * side + x % side).clamp(max=tiles * area - 1)
    flat = features.flatten(1, 2)
    found = flat.gather(1, source[..., None].expand(-1, -1, flat.shape[-1]))
    found = torch.where((column == cropped.wide)[..., None], newline, found)
    rows = torch.cat([features[:, 0], found], dim=1)
    whole = torch.ones(area, dtype=torch.bool, device=row.device).expand(row.shape[0], -1)
    return rows, torch.cat([whole, row < cropped.high], dim=1)


CALLED = tuple(
    Upstream(module, name, sha256, VERSION)
    for module, name, sha256 in (
        (
            MODELING,
            "LlavaNextModel.pack_image_features",
            "7b7603e813b7410b82a83358077b9ecea62093bbea1c75c399aa29d1ff9ff0a7",
        ),
        (
            MODELING,
            "unpad_image",
            "b419871a232ff4b901405d94f09ce34960b3a1a8fbc3fda8500ccc1f7a78ddae",
        ),
        (
            MODELING,
            "get_anyres_image_grid_shape",
            "08ef2943c263ccd3a05a40e57fcb8810184ca9d57a9c5d91253998f94ebb632a",
        ),
        (
            "transformers.image_processing_utils",
            "select_best_resolution",
            "d7778239e47f5ba3e9a46614037147c7d86d65bcffa14ed91153d4cd1b0102a8",
        ),
    )
)

SUBSTITUTES = (
    Substitute(
        module=MODELING,
        kind="LlavaNextModel",
        method="get_image_features",
        source_sha256="029474e1b265f326f71500213afcbebccfceef9541233d9f8ed47b502fd05faa",
        version=VERSION,
        replacement=get_image_features,
        calls=CALLED,
    ),
)
