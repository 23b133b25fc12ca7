"""Pixtral's images, cut out of the canvas they were padded to, and Mistral 3's merging of patches.

Upstream cuts each image out by Python numbers and puts all patches in one row. Here the row has
the patches of the whole canvas: first those that are image, in upstream's order, then the others,
which see one another only and which no token of the prompt stands for.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from mmedge.errors import ExportError
from mmedge.optional import require
from mmedge_export.huggingface.segments import passed
from mmedge_export.huggingface.substitutes.substitute import Substitute
from mmedge_export.huggingface.substitutes.upstream import Upstream
from mmedge_export.huggingface.uncut_features import chosen_first

PIXTRAL = "transformers.models.pixtral.modeling_pixtral"
MISTRAL = "transformers.models.mistral3.modeling_mistral3"
VERSION = "5.23.0"


def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    """PixtralVisionModel.forward, which also returns its hidden states."""
    return _capturing()(self, *args, **kwargs)


@cache
def _capturing() -> Any:
    capturing = require("transformers.utils.output_capturing").capture_outputs
    return require("transformers.utils.generic").merge_with_config_defaults(capturing(_forward))


def _forward(
    self: Any, pixel_values: Tensor, image_sizes: Tensor | None = None, **kwargs: Any
) -> Any:
    if image_sizes is None:
        raise ExportError("Pixtral's images need their sizes", expected="an input image_sizes")
    canvas = self.patch_conv(pixel_values.to(self.patch_conv.weight.dtype))
    where, wanted = places(image_sizes // self.patch_size, canvas.shape[2], canvas.shape[3])
    order = chosen_first(wanted)
    patches = self.ln_pre(canvas.flatten(2).transpose(1, 2).flatten(0, 1)[order][None])
    number = torch.where(wanted, where[:, 0], -1)[order]
    together = number[:, None] == number[None]
    mask = torch.where(together, 0.0, torch.finfo(patches.dtype).min).to(patches.dtype)
    turned = self.patch_positional_embedding(patches, where[order, 1:])
    return self.transformer(
        patches, attention_mask=mask[None, None], position_embeddings=turned, **kwargs
    )


def places(sizes: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Image, row and column of each patch [patches, 3], and whether it is in its image [patches].

    sizes: rows and columns of each image, int64 [images, 2], of a canvas of rows and columns.
    """
    edges = (sizes.shape[0], rows, columns)
    grid = torch.meshgrid([torch.arange(edge) for edge in edges], indexing="ij")
    image, row, column = (part.flatten().to(sizes.device) for part in grid)
    wanted = (row < sizes[image, 0]) & (column < sizes[image, 1])
    return torch.stack([image, row, column], dim=1), wanted


def merge(self: Any, image_features: Tensor, image_sizes: Tensor) -> Tensor:
    """Mistral3PatchMerger.forward: squares of patches [patches, hidden] to one feature each."""
    edge, images = self.spatial_merge_size, image_sizes.shape[0]
    shapes = image_sizes // self.patch_size
    source = squares(shapes, image_features.shape[0] // images, edge=edge)
    found = image_features[source.clamp(max=image_features.shape[0] - 1)]
    merged: Tensor = self.merging_layer(found.transpose(1, 2).flatten(1))
    return merged


def squares(shapes: Tensor, patches: int, *, edge: int) -> Tensor:
    """The patches of each square of `edge` by `edge`, int64 [squares, edge * edge].

    shapes: rows and columns of each image [images, 2]. patches: of an image's canvas. Squares of
    which there are fewer than that come last, and are of no image.
    """
    merged = shapes // edge
    ends = merged.prod(1).cumsum(0)
    starts = shapes.prod(1).cumsum(0) - shapes.prod(1)
    count = shapes.shape[0] * (patches // edge**2)
    image = passed(ends, count).clamp(max=shapes.shape[0] - 1)
    number = torch.arange(count, device=shapes.device)
    inside = number - (ends - merged.prod(1))[image]
    across = merged[image, 1].clamp(min=1)
    within = torch.arange(edge**2, device=shapes.device)[None]
    row = (inside // across)[:, None] * edge + within // edge
    column = (inside % across)[:, None] * edge + within % edge
    return starts[image][:, None] + row * shapes[image, 1][:, None] + column


SUBSTITUTES = (
    Substitute(
        module=PIXTRAL,
        kind="PixtralVisionModel",
        method="forward",
        source_sha256="52f519f669370edd917ffe25fd0f90e7158264679e65b7e691ea897e122fa862",
        version=VERSION,
        replacement=forward,
        calls=(
            Upstream(
                PIXTRAL,
                "generate_block_attention_mask",
                "76793d9e55953a768130efbe330615a11395f1ab6c4ed10c7da7fd7cbded1d1d",
                VERSION,
            ),
        ),
    ),
    Substitute(
        module=MISTRAL,
        kind="Mistral3PatchMerger",
        method="forward",
        source_sha256="07122f43c8360dc74d1f6779e152d2d10320e661e9002e7716d9ef15c44a7012",
        version=VERSION,
        replacement=merge,
    ),
)
