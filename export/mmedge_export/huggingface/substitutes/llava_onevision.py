"""LLaVA-OneVision's features: LLaVA-NeXT's, and where they would be too many, fewer in between.

Upstream resizes the features of a large grid by Python numbers. Here each place of the answer
looks up the four features around it; where nothing is resized, it is the first of them. Of
several images in one example there is only the whole image, and a line end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmedge.errors import ExportError
from mmedge.optional import require
from mmedge_export.huggingface.segments import passed
from mmedge_export.huggingface.substitutes.llava_next import Cropped, framed, without_padding
from mmedge_export.huggingface.substitutes.substitute import Substitute
from mmedge_export.huggingface.substitutes.upstream import Upstream
from mmedge_export.huggingface.uncut_features import chosen_first

MODELING = "transformers.models.llava_onevision.modeling_llava_onevision"
VERSION = "5.23.0"
# By how much features may be too many before upstream resizes them.
SPARED = 1.1


def get_image_features(
    self: Any,
    pixel_values: Tensor,
    image_sizes: Tensor,
    vision_feature_layer: int | list[int] | None = None,
    vision_feature_select_strategy: str | None = None,
    vision_aspect_ratio: str | None = None,
    batch_num_images: Tensor | None = None,
    **_kwargs: Any,
) -> Any:
    """Features of images [images, tiles, 3, height, width] of sizes [images, 2], in one piece."""
    if pixel_values.ndim != 5:
        raise ExportError("each image needs tiles of its own", found=f"{pixel_values.ndim} axes")
    config, vision = self.config, self.config.vision_config
    layer = config.vision_feature_layer if vision_feature_layer is None else vision_feature_layer
    strategy = vision_feature_select_strategy or config.vision_feature_select_strategy
    seen = self.vision_tower(pixel_values.flatten(0, 1), output_hidden_states=True)
    layers = [layer] if isinstance(layer, int) else layer
    states = torch.cat([seen.hidden_states[number] for number in layers], dim=-1)
    features = self.multi_modal_projector(states[:, 1:] if strategy == "default" else states)
    frames = framed(image_sizes, torch.tensor(config.image_grid_pinpoints), tile=vision.image_size)
    side = vision.image_size // vision.patch_size
    most = int((vision_aspect_ratio or config.vision_aspect_ratio).removeprefix("anyres_max_"))
    lines = thinned(without_padding(image_sizes, frames, side=side), most=most)
    if batch_num_images is not None:
        lines = lines.of_one(passed_images(batch_num_images, image_sizes.shape[0]))
    rows, wanted = _packed(
        features.unflatten(0, (image_sizes.shape[0], -1)), lines, self.image_newline
    )
    outputs = require("transformers.modeling_outputs")
    order = chosen_first(wanted.flatten())
    return outputs.BaseModelOutputWithPooling(pooler_output=[rows.flatten(0, 1)[order]])


@dataclass(frozen=True)
class Lines:
    """How many rows and columns of features are left of what is cropped; int64 [images, 1]."""

    cropped: Cropped
    high: Tensor
    wide: Tensor

    def of_one(self, alone: Tensor) -> Lines:
        """Of the others, not `alone` [images, 1], an empty row is left: its end."""
        return Lines(
            self.cropped, torch.where(alone, self.high, 1), torch.where(alone, self.wide, 0)
        )


def passed_images(counts: Tensor, images: int) -> Tensor:
    """Whether each image is the only one of its example: bool [images, 1]; counts: [batch]."""
    example = passed(counts.cumsum(0), images).clamp(max=counts.shape[0] - 1)
    return (counts[example] == 1)[:, None]


def thinned(cropped: Cropped, *, most: int) -> Lines:
    """Rows and columns that come to about `most` tiles, where there are clearly more."""
    high, wide = cropped.high.double(), cropped.wide.double()
    ratio = torch.sqrt(high * wide / (most * cropped.side**2))
    many = ratio > SPARED
    return Lines(
        cropped,
        torch.where(many, _divided(high, ratio), cropped.high),
        torch.where(many, _divided(wide, ratio), cropped.wide),
    )


def _divided(length: Tensor, ratio: Tensor) -> Tensor:
    """Python's `length // ratio`: what a rounded quotient has gained does not count."""
    whole: Tensor = torch.round((length - torch.fmod(length, ratio)) / ratio).long()
    return whole


def _packed(features: Tensor, lines: Lines, newline: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [images, places, hidden] and which of them there really are [images, places].

    features: [images, tiles, features of a tile, hidden], the whole image first.
    """
    tiles, area, side = features.shape[1], features.shape[2], lines.cropped.side
    # No grid has more than a new line for every feature of a row.
    places = torch.arange((tiles - 1) * (area + side), device=features.device)[None]
    row, column = places // (lines.wide + 1), places % (lines.wide + 1)
    found = _between(features, lines, row, column)
    found = torch.where((column == lines.wide)[..., None], newline, found)
    rows = torch.cat([features[:, 0], found], dim=1)
    whole = torch.ones(area, dtype=torch.bool, device=row.device).expand(row.shape[0], -1)
    return rows, torch.cat([whole, row < lines.high], dim=1)


def _between(features: Tensor, lines: Lines, row: Tensor, column: Tensor) -> Tensor:
    """The features at rows and columns [images, places] of the resized grid, bilinear."""
    above, below, down = _around(row, lines.high, lines.cropped.high, features.dtype)
    left, right, across = _around(column, lines.wide, lines.cropped.wide, features.dtype)
    upper = torch.lerp(
        _at(features, lines.cropped, above, left),
        _at(features, lines.cropped, above, right),
        across,
    )
    lower = torch.lerp(
        _at(features, lines.cropped, below, left),
        _at(features, lines.cropped, below, right),
        across,
    )
    return torch.lerp(upper, lower, down)


def _around(
    place: Tensor, length: Tensor, source: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """The places before and after each one, among `source`, and how far in between it is."""
    scale = source.to(dtype) / length.clamp(min=1).to(dtype)
    at = ((place.to(dtype) + 0.5) * scale - 0.5).clamp(min=0)
    before = torch.minimum(at.long(), source - 1)
    return before, torch.minimum(before + 1, source - 1), (at - before.to(dtype))[..., None]


def _at(features: Tensor, cropped: Cropped, row: Tensor, column: Tensor) -> Tensor:
    """The features at rows and columns [images, places] of what is cropped."""
    area, side = features.shape[2], cropped.side
    y, x = cropped.top + row, cropped.left + column
    tile = 1 + y // side * cropped.columns + x // side
    source = (tile * area + y % side * side + x % side).clamp(0, features.shape[1] * area - 1)
    flat = features.flatten(1, 2)
    return flat.gather(1, source[..., None].expand(-1, -1, flat.shape[-1]))


CALLED = tuple(
    Upstream(module, name, sha256, VERSION)
    for module, name, sha256 in (
        (
            MODELING,
            "LlavaOnevisionModel.pack_image_features",
            "6dd588127000f83fe40c16854682ca70090badbd8c1fc676d19ff45f4498631b",
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
            MODELING,
            "image_size_to_num_patches",
            "1abfe09ff407724d5ad15561a331f4df1b93c81d944845834330507eed614aa9",
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
        kind="LlavaOnevisionModel",
        method="get_image_features",
        source_sha256="e8244aeb1687ecf0f28fd107aaa2898c1238e03ec825a5cb49117c40c770f5cc",
        version=VERSION,
        replacement=get_image_features,
        calls=CALLED,
    ),
)
