"""A decoder that is the model's own body takes embeddings only where it leaves them as they are."""

from __future__ import annotations

from typing import Any

import torch
from mmedge_export.huggingface.own_body import embeddings_of, own_body, without_layers
from torch import Tensor, nn

IDS = torch.tensor([[3, 1, 2], [0, 2, 2]])


class Body(nn.Module):
    """Embeddings, times `scale`, through layers and a norm."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.embed = nn.Embedding(4, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8)])
        self.norm = nn.LayerNorm(8)

    def forward(self, input_ids: Tensor | None = None, inputs_embeds: Any = None) -> Tensor:
        hidden: Tensor = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        hidden = hidden * self.scale
        for layer in self.layers:
            hidden = layer(hidden)
        found: Tensor = self.norm(hidden)
        return found


class Model(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def get_decoder(self) -> nn.Module:
        return self.body

    def forward(self, input_ids: Tensor) -> Tensor:
        found: Tensor = self.body(input_ids=input_ids)
        return found


def test_what_enters_the_layers() -> None:
    model = Model(Body(1.0))
    before = model(IDS)
    assert own_body(model) == "body"
    found = embeddings_of(model, "body", {"input_ids": IDS})
    assert found is not None
    torch.testing.assert_close(found, model.body.embed(IDS), rtol=0, atol=0)
    torch.testing.assert_close(model(IDS), before, rtol=0, atol=0)


def test_embeddings_that_are_scaled_cannot_be_given_back() -> None:
    assert embeddings_of(Model(Body(2.0)), "body", {"input_ids": IDS}) is None


def test_a_decoder_without_layers_and_norm_is_not_one() -> None:
    assert own_body(Model(nn.Linear(2, 2))) is None
    assert own_body(nn.Linear(2, 2)) is None


def test_the_layers_come_back_after_a_failure() -> None:
    body = Body(1.0)
    layers = body.layers
    try:
        with without_layers(body):
            body(inputs_embeds=torch.zeros(1, 2, 3))
    except RuntimeError:
        pass
    assert body.layers is layers
    assert body(IDS).shape == (2, 3, 8)
