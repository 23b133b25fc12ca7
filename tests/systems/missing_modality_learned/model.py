"""Image, and perhaps sound and text: what is absent is replaced by learned features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 64


class TextEncoder(nn.Module):
    """A bag of words."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, text: Tensor) -> Tensor:
        """Int64 [batch, words] to float [batch, 64]."""
        return self.norm(self.embedding(text).mean(dim=1))


class LearnedSubstitutes(nn.Module):
    """Three encoders and a head; `missing_audio` and `missing_text` are trained with the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, WIDTH)
        )
        self.audio_encoder = nn.Sequential(nn.Linear(200, 128), nn.Tanh(), nn.Linear(128, WIDTH))
        self.text_encoder = TextEncoder()
        self.missing_audio = nn.Parameter(torch.randn(WIDTH))
        self.missing_text = nn.Parameter(torch.randn(1, WIDTH))
        self.head = nn.Linear(3 * WIDTH, 5)

    def forward(
        self, image: Tensor, audio: Tensor | None = None, text: Tensor | None = None
    ) -> Tensor:
        """Float [batch, 3, 16, 16], float [batch, 200], int64 [batch, 6] to logits [batch, 5]."""
        image_features = self.image_encoder(image)
        missing_audio = self.missing_audio.expand_as(image_features)
        missing_text = self.missing_text.expand_as(image_features)
        audio_features = missing_audio if audio is None else self.audio_encoder(audio)
        text_features = missing_text if text is None else self.text_encoder(text)
        return self.head(torch.cat([image_features, audio_features, text_features], dim=1))


def build() -> LearnedSubstitutes:
    """Make the network with random weights."""
    return LearnedSubstitutes()
