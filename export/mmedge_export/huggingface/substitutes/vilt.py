"""ViLT's image embedding: upstream picks the patches of an image at random, one image at a time.

With `max_image_length` below 0 (every released checkpoint) upstream keeps every valid patch, in
random order, and fills a batch up with masked ones. Attention does not look at the order, so all
patches in their own order, masked where the image is padding, give the same: each patch has its
position added before, and upstream's outputs are read from the text. A smaller
`max_image_length` really drops patches at random, and is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmedge.errors import ExportError
from mmedge_export.huggingface.substitutes.substitute import Substitute


def visual_embed(
    self: Any, pixel_values: Tensor, pixel_mask: Tensor, max_image_length: int = 200
) -> tuple[Tensor, Tensor, Any]:
    """Patches [batch, 1 + patches, hidden], their mask [batch, 1 + patches], their places."""
    if isinstance(max_image_length, int) and max_image_length >= 0:
        raise ExportError(
            "ViLT drops patches of large images at random with this config",
            found=f"max_image_length = {max_image_length}",
            expected="-1, which keeps all of them",
            where="config.json",
        )
    x = self.patch_embeddings(pixel_values)
    height, width = x.shape[2], x.shape[3]
    mask = nn.functional.interpolate(pixel_mask[:, None].float(), size=(height, width)).long()
    side = self.config.image_size // self.config.patch_size
    table = self.position_embeddings[0, 1:].reshape(side, side, -1)
    positions = resized_table(table, mask[:, 0].sum(1)[:, 0], mask[:, 0].sum(2)[:, 0], mask)
    x = x.flatten(2).transpose(1, 2) + positions
    first = (self.cls_token + self.position_embeddings[:, :1]).expand(x.shape[0], -1, -1)
    x = self.dropout(torch.cat((first, x), dim=1))
    mask = torch.cat([torch.ones_like(mask[:, 0, 0, :1]), mask.flatten(1)], dim=1)
    return x, mask, (None, (height, width))


def resized_table(table: Tensor, heights: Tensor, widths: Tensor, mask: Tensor) -> Tensor:
    """`table` [side, side, dim] resized to each image's own size: [batch, height * width, dim].

    Bilinear with aligned corners, zero outside of the image, as upstream's loop over
    `nn.functional.interpolate` and `pad`; here as a product with interpolation weights.
    """
    rows = _weights(heights, mask.shape[2], table.shape[0])
    columns = _weights(widths, mask.shape[3], table.shape[1])
    half = torch.einsum("bhs,std->bhtd", rows, table)
    return torch.einsum("bwt,bhtd->bhwd", columns, half).flatten(1, 2)


def _weights(sizes: Tensor, length: int, source: int) -> Tensor:
    """[batch, length, source]: how much of each source place goes into each place."""
    places = torch.arange(length, device=sizes.device, dtype=torch.float32)
    sizes = sizes[:, None].float()
    # A single place takes the first of the source, as interpolate does.
    step = (source - 1) / (sizes - 1).clamp(min=1)
    at = places[None] * step
    weights = (1 - (at[..., None] - torch.arange(source, device=sizes.device)).abs()).clamp(min=0)
    return weights * (places[None] < sizes)[..., None]


SUBSTITUTES = (
    Substitute(
        module="transformers.models.vilt.modeling_vilt",
        kind="ViltEmbeddings",
        method="visual_embed",
        source_sha256="a8f70814abd91d6a86ce387c6ff066a3d4e2996868bd2d367920048bb3520407",
        version="5.23.0",
        replacement=visual_embed,
    ),
)
