"""UDOP's picture among the words of its page: upstream drops patches in a loop over the pages.

A patch that a word lies on is added to the word; the others follow the words, in their own order,
filled up with zeros to as many as there are. Here the others are moved to the front by sorting
their places, all pages at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmedge.errors import ExportError
from mmedge_export.huggingface.substitutes.substitute import Substitute
from mmedge_export.huggingface.substitutes.upstream import Upstream

MODULE = "transformers.models.udop.modeling_udop"
VERSION = "5.23.0"
BOXES = Upstream(
    MODULE,
    "get_visual_bbox",
    "6e35e523ce9eef93b1b9739784c76fcf2c27baa0cb2fd0ab5800dcf60a7e90ac",
    VERSION,
)
PADDED = Upstream(
    MODULE,
    "pad_sequence",
    "a8d7ec841e62de5d1cfc7e8e63a392c7eaa6f561c3688837e6950dae84336439",
    VERSION,
)


def combined(
    image_embeddings: Tensor,
    inputs_embeds: Tensor,
    bbox: Tensor,
    visual_bbox: Tensor | None,
    attention_mask: Tensor | None = None,
    num_patches: int = 14,
    max_len: int = 0,
    image_size: int = 224,
    patch_size: int = 16,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Words, then patches [batch, words + patches, hidden], with their boxes and their mask."""
    if max_len:  # upstream itself never asks for one
        raise ExportError("UDOP's patches are cut to a length", found=max_len, expected=0)
    under = _patch_under(bbox, num_patches)
    bbox = bbox.double()
    mean = bbox.mean(-1)
    nowhere = ((mean == 0.0) | (mean == 1.0))[..., None]
    inputs_embeds = inputs_embeds + _rows(image_embeddings, under).masked_fill(nowhere, 0.0)
    if visual_bbox is None:
        boxes = BOXES.function()(image_size=image_size, patch_size=patch_size)
        visual_bbox = boxes[None].expand(image_embeddings.shape[0], -1, -1)
    order, kept = _free_first(under, image_embeddings.shape[1])
    left = _rows(image_embeddings, order) * kept[..., None]
    places = _rows(visual_bbox, order) * kept[..., None]
    if attention_mask is not None:
        attention_mask = torch.cat([attention_mask, kept.to(attention_mask.dtype)], 1)
    both = torch.cat([inputs_embeds, left], 1), torch.cat([bbox, places.double()], 1)
    return *both, attention_mask


def _patch_under(bbox: Tensor, side: int) -> Tensor:
    """[batch, words]: the patch below the centre of each box."""
    column, row = (
        ((bbox[..., low] + bbox[..., low + 2]) / 2.0 * side).floor().long().clip(0, side - 1)
        for low in (0, 1)
    )
    return column + row * side


def _free_first(under: Tensor, patches: int) -> tuple[Tensor, Tensor]:
    """The patches without a word, then the others [batch, patches]; and which are of the first."""
    number = torch.arange(patches, device=under.device)[None]
    taken = torch.zeros_like(number.expand(under.shape[0], -1)).scatter(1, under, 1)
    order = (number + taken * patches).argsort(dim=1)
    return order, number < patches - taken.sum(1, keepdim=True)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    return table.gather(1, index[..., None].expand(-1, -1, table.shape[-1]))


SUBSTITUTES = (
    Substitute(
        module=MODULE,
        kind="",
        method="combine_image_text_embeddings",
        source_sha256="e8b16dda58c162e69822e4fa6eaaf81a349b14fad11df111759ed7e29bff13bd",
        version=VERSION,
        replacement=combined,
        calls=(BOXES, PADDED),
    ),
)
