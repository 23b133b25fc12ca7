"""One modality's encoder and projector, as the model's own `get_image_features` joins them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmedge_export.huggingface.packed_attention import PackedAttention
from mmedge_export.huggingface.patch_grids import patch_grids
from mmedge_export.huggingface.substitutes import substituted
from mmedge_export.huggingface.uncut_features import uncut_features

# The argument that says how the patches of images in a row lie: int64 [images, 3].
GRIDS = "image_grid_thw"


class FeatureEncoder(nn.Module):
    """A modality's tensors to its features [batch, features, hidden].

    method: "get_image_features" and the like.
    arguments: names of the method's arguments, in the order of this module's inputs.
    flat: arguments that upstream takes without a batch axis: the images of all examples in a
        row. Here they are [batch, images, ...].
    """

    def __init__(
        self, model: nn.Module, method: str, arguments: tuple[str, ...], *, flat: frozenset[str]
    ) -> None:
        super().__init__()
        self.model = model
        self.method = method
        self.arguments = arguments
        self.flat = flat
        self.grids = patch_grids(model) if GRIDS in arguments else None
        self.training = False

    def forward(self, *tensors: Tensor) -> Tensor:
        """Tensors as the class says."""
        batch = tensors[0].shape[0]
        given = flattened(dict(zip(self.arguments, tensors, strict=True)), self.flat)
        method = getattr(self.model, self.method)
        if self.grids is None:
            with uncut_features(), substituted(self.model):
                return joined(features_of(method(**given)), batch)
        given |= self.grids.arguments(given[GRIDS], next(iter(given.values())).shape[0])
        packed = PackedAttention(batch)
        with uncut_features(packed.leave_whole), packed.active():
            return joined(features_of(method(**given)), batch)


def flattened(given: Mapping[str, Any], flat: frozenset[str]) -> dict[str, Any]:
    """The arguments as upstream takes them."""
    return {name: v.flatten(0, 1) if name in flat else v for name, v in given.items()}


def features_of(result: Any) -> Any:
    """What replaces the placeholder tokens: a tensor, or pieces of one (transformers >= 5)."""
    pooled = getattr(result, "pooler_output", None)
    return result if pooled is None else pooled


def joined(features: Any, batch: int) -> Tensor:
    """Features [batch, features, hidden] from a tensor of any rank or its pieces."""
    rows = torch.cat(list(features), dim=0) if isinstance(features, list | tuple) else features
    return rows.reshape(batch, -1, rows.shape[-1])


def as_upstream(features: Tensor, like: Any) -> Any:
    """Joined features in the container that `like`, upstream's own, comes in."""
    pooled = features_of(like)
    rows = features.reshape(-1, features.shape[-1])
    if isinstance(pooled, list | tuple):
        made: Any = type(pooled)([rows])
    else:
        made = rows.reshape(-1, *pooled.shape[1:]) if pooled.ndim > 2 else rows
    if like is pooled:
        return made
    return type(like)(pooler_output=made)
