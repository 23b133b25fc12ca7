"""Mean of word embeddings and mean of a convolution, fused by a learned weighted sum."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EmbeddingMean(nn.Module):
    """The mean embedding of a sentence."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)

    def forward(self, text: Tensor) -> Tensor:
        """Int64 [batch, words] to float [batch, width]."""
        return self.embedding(text).mean(dim=1)


class ConvMean(nn.Module):
    """The mean of a convolution over the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, image: Tensor) -> Tensor:
        """Float [batch, 3, height, width] to [batch, width]."""
        return torch.relu(self.norm(self.conv(image))).mean(dim=(2, 3))


class WeightedSum(nn.Module):
    """alpha * text + (1 - alpha) * image, with alpha learned, to probabilities."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.text_encoder = EmbeddingMean(40, width)
        self.image_encoder = ConvMean(width)
        self.alpha = nn.Parameter(torch.tensor(0.3))
        self.classifier = nn.Linear(width, classes)

    def forward(self, text: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Probabilities, float [batch, classes]."""
        text_features = self.text_encoder(text)
        image_features = self.image_encoder(image)
        fused = self.alpha * text_features + (1 - self.alpha) * image_features
        return {"probabilities": self.classifier(fused).softmax(dim=-1)}


def build(width: int = 32, classes: int = 5) -> WeightedSum:
    """Make the network with random weights."""
    return WeightedSum(width, classes)
