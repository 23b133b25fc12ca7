"""A model whose decoder is no submodule of its own: what enters the first of its layers.

(Chameleon: embedding, layers and norm side by side.) A body without layers hands the embeddings
to its norm. They can be given back to the model in place of a prompt where it does nothing else
with embeddings on their way to the first layer; that is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmedge_export.replaced_forward import replaced_forward

LAYERS, NORM = "layers", "norm"


def own_body(model: Any) -> str | None:
    """The path of the module with the layers and the norm; None where it is made otherwise."""
    body = model.get_decoder() if hasattr(model, "get_decoder") else None
    if not all(isinstance(getattr(body, name, None), nn.Module) for name in (LAYERS, NORM)):
        return None
    found: str = next(path for path, module in model.named_modules() if module is body)
    return found


@contextmanager
def without_layers(body: Any) -> Iterator[dict[str, Tensor]]:
    """While active, the body has no layers, and what would enter them is noted: inputs_embeds."""
    layers, reached = body.layers, dict[str, Tensor]()

    def note(hidden: Tensor) -> Tensor:
        reached["inputs_embeds"] = hidden
        return hidden

    body.layers = nn.ModuleList()
    try:
        with replaced_forward(body.norm, note):
            yield reached
    finally:
        body.layers = layers


def embeddings_of(model: nn.Module, path: str, inputs: Mapping[str, Any]) -> Tensor | None:
    """What enters the layers; None where the same does not enter them when it is given as such."""
    body = model.get_submodule(path)
    with torch.no_grad(), without_layers(body) as first:
        model(**inputs)
    merged = first["inputs_embeds"].clone()
    with torch.no_grad(), without_layers(body) as second:
        body(inputs_embeds=merged.clone())
    return merged if torch.equal(second["inputs_embeds"], merged) else None
