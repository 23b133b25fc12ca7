"""Two towers whose vectors are compared: images with captions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Tower(nn.Module):
    """An encoder and a projection to unit length."""

    def __init__(self, encoder: nn.Module, features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Linear(features, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Anything [batch, ...] to unit vectors, float [batch, 16]."""
        return nn.functional.normalize(self.projection(self.encoder(x)), dim=-1)


class Similarity(nn.Module):
    """Cosines at a learned temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Vectors [images, 16] and [texts, 16] to scores [images, texts]."""
        return self.scale.exp() * image @ text.T


class TwoTower(nn.Module):
    """Nothing but calls of submodules."""

    def __init__(self) -> None:
        super().__init__()
        image = nn.Sequential(nn.Conv2d(3, 24, 3, stride=2), nn.ReLU(), nn.Flatten())
        self.towers = nn.ModuleDict(
            {"image": Tower(image, 24 * 49), "text": Tower(nn.EmbeddingBag(50, 32), 32)}
        )
        self.similarity = Similarity()

    def forward(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Float [images, 3, 16, 16] and int64 [texts, 8] to scores and both embeddings."""
        image_embedding = self.towers["image"](image)
        text_embedding = self.towers["text"](text)
        return {
            "scores": self.similarity(image_embedding, text_embedding),
            "image_embedding": image_embedding,
            "text_embedding": text_embedding,
        }


def build() -> TwoTower:
    """Make the network with random weights."""
    return TwoTower()
