"""Smaller pictures and shorter sounds, while sizes are probed one at a time.

A text has a place for every feature. Of a picture that is made smaller there are fewer, and what
is left of its places becomes text: a model finds no feature for them, and says so or fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from mmedge.recipes import Resize
from mmedge.tensors import Array
from mmedge_export.huggingface.prompt_parts import PROMPT, Encoder

# What configs call the token that holds a feature's place, of each modality.
PLACES = ("{}_token_id", "{}_token_index")


def fewer_places(resize: Resize, encoders: Sequence[Encoder], model: nn.Module) -> Resize:
    """`resize`, with no more places in the text than there are features in the resized inputs."""
    tokens = {encoder.name: place_token(model, encoder.modality) for encoder in encoders}

    def run(inputs: Mapping[str, Array], name: str, size: int) -> dict[str, Array]:
        resized = resize(inputs, name, size)
        for encoder in encoders:
            token = tokens[encoder.name]
            if token is not None and _smaller(resized, inputs, encoder.arguments):
                ids = resized[PROMPT]
                resized[PROMPT] = _within(ids, token, features=_features(encoder, resized))
        return resized

    return run


def place_token(model: Any, modality: str) -> int | None:
    """The token that holds the place of a feature of this modality; None where none is named."""
    names = [name.format(modality) for name in PLACES]
    config = getattr(model, "config", None)
    configs = (config, getattr(config, "vlm_config", None))
    found = (getattr(config, name, None) for config in configs for name in names)
    return next((int(token) for token in found if token is not None), None)


def _smaller(resized: Mapping[str, Array], inputs: Mapping[str, Array], names: Any) -> bool:
    """Whether an axis besides the batch is shorter than it was."""
    return any(
        new < old
        for name in names
        for new, old in zip(resized[name].shape[1:], inputs[name].shape[1:], strict=True)
    )


def _features(encoder: Encoder, inputs: Mapping[str, Array]) -> int:
    """How many features each example has."""
    given = [torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in encoder.arguments]
    with torch.no_grad():
        return int(encoder.module(*given).shape[1])


def _within(ids: Array, token: int, *, features: int) -> Array:
    """The ids [batch, length] with the first `features` places at most; the others are text."""
    places = ids == token
    left = places & (places.cumsum(axis=1) > features)
    return np.where(left, ids[:, -1:], ids)
