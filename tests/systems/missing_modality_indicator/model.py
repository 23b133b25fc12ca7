"""Image, and perhaps sound: a flag for each example says whether its sound is there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 64


class Indicated(nn.Module):
    """Where `has_audio` is False, `missing` stands in for the sound's features."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, WIDTH)
        )
        self.audio_encoder = nn.Sequential(nn.Linear(200, 128), nn.Tanh(), nn.Linear(128, WIDTH))
        self.missing = nn.Parameter(torch.randn(WIDTH))
        self.head = nn.Linear(2 * WIDTH, 5)

    def forward(self, image: Tensor, audio: Tensor, has_audio: Tensor) -> Tensor:
        """Float [batch, 3, 16, 16], float [batch, 200], bool [batch] to logits [batch, 5]."""
        image_features = self.image_encoder(image)
        heard = self.audio_encoder(audio)
        audio_features = torch.where(has_audio[:, None], heard, self.missing)
        return self.head(torch.cat([image_features, audio_features], dim=1))


def build() -> Indicated:
    """Make the network with random weights."""
    return Indicated()
