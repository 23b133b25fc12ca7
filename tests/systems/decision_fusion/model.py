"""Three heads decide, each from one modality; their decisions are combined in three ways."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 6


class ImageHead(nn.Module):
    """A convolution that decides from the image alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, stride=2)
        self.linear = nn.Linear(12, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Float [batch, 3, 16, 16] to logits [batch, 6]."""
        return self.linear(torch.relu(self.conv(image)).mean(dim=(2, 3)))


class AudioHead(nn.Module):
    """A one-dimensional convolution that decides from the sound alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 12, 9, stride=4)
        self.linear = nn.Linear(12, CLASSES)

    def forward(self, audio: Tensor) -> Tensor:
        """Float [batch, samples] to logits [batch, 6]."""
        return self.linear(torch.relu(self.conv(audio.unsqueeze(1))).amax(dim=2))


class TextHead(nn.Module):
    """A bag of words that decides from the text alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 12)
        self.linear = nn.Linear(12, CLASSES)

    def forward(self, text: Tensor) -> Tensor:
        """Int64 [batch, 5] to logits [batch, 6]."""
        return self.linear(self.embedding(text).mean(dim=1))


class DecisionFusion(nn.Module):
    """The mean of the heads' probabilities, a weighted vote, and the most confident head."""

    def __init__(self) -> None:
        super().__init__()
        self.image_head = ImageHead()
        self.audio_head = AudioHead()
        self.text_head = TextHead()
        self.register_buffer("trust", torch.tensor([0.5, 0.2, 0.3]))

    def forward(self, image: Tensor, audio: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Float [batch, 6] each, and the most confident head's class, int64 [batch]."""
        logits = [self.image_head(image), self.audio_head(audio), self.text_head(text)]
        probabilities = torch.stack(logits, dim=1).softmax(dim=-1)
        weighted = (probabilities * self.trust[:, None]).sum(dim=1)
        most_confident = probabilities.amax(dim=1)
        return {
            "mean": probabilities.mean(dim=1),
            "weighted": weighted,
            "most_confident": most_confident,
            "decision": most_confident.argmax(dim=-1),
        }


def build() -> DecisionFusion:
    """Make the network with random weights."""
    return DecisionFusion()
