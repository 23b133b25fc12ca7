"""A CNN and an RNN whose features are fused half-way, by a weighted sum, and processed further."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageBranch(nn.Module):
    """A small CNN."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, width, 3, stride=2),
            nn.ReLU(),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Float [batch, 1, 28, 28] to [batch, width, 6, 6]."""
        return self.features(image)


class SequenceBranch(nn.Module):
    """A plain RNN over every second sensor reading."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 3, stride=2)
        self.rnn = nn.RNN(8, width, batch_first=True)

    def forward(self, readings: Tensor) -> tuple[Tensor, Tensor]:
        """Float [batch, steps, 4] to all states [batch, (steps - 1) // 2, width] and the last."""
        frames = self.conv(readings.transpose(1, 2)).transpose(1, 2)
        return self.rnn(frames)


class Trunk(nn.Module):
    """What follows the fusion."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, fused: Tensor) -> Tensor:
        """Float [batch, width, 6, 6] to [batch, width]."""
        return torch.relu(self.norm(self.conv(fused))).amax(dim=(2, 3))


class StructureFusion(nn.Module):
    """The last state is broadcast over the image's feature map; then one trunk for both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.image_branch = ImageBranch(width)
        self.sequence_branch = SequenceBranch(width)
        self.weights = nn.Parameter(torch.tensor([0.2, -0.4]))
        self.trunk = Trunk(width)
        self.head = nn.Linear(width, 4)

    def forward(self, image: Tensor, readings: Tensor) -> Tensor:
        """Logits, float [batch, 4]."""
        image_features = self.image_branch(image)
        states, last = self.sequence_branch(readings)
        share = self.weights.softmax(dim=0)
        sequence_features = (last[0] + states.mean(dim=1))[:, :, None, None]
        fused = share[0] * image_features + share[1] * sequence_features
        return self.head(self.trunk(fused) - 0.5)


def build() -> StructureFusion:
    """Make the network with random weights."""
    return StructureFusion(24)
