"""A GRU over words and a convolution over an image; one answer and one caption category."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TwoOutputs(nn.Module):
    """Two encoders, two heads that both see both modalities."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.rnn = nn.GRU(16, 24, num_layers=2, batch_first=True, bidirectional=True)
        self.conv = nn.Conv2d(3, 24, 5, stride=2)
        self.answer = nn.Linear(72, 7)
        self.category = nn.Linear(72, 3)

    def forward(self, text: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Int64 [batch, words] and float [batch, 3, 20, 20] to logits [batch, 7] and [batch, 3]."""
        states, _ = self.rnn(self.embedding(text))
        image_features = torch.relu(self.conv(image)).mean(dim=(2, 3))
        features = torch.cat([states.mean(dim=1), image_features], dim=1)
        return self.answer(features), self.category(features)


def build() -> TwoOutputs:
    """Make the network with random weights."""
    return TwoOutputs()
