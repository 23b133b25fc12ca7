"""One input, no multimodality, and every odd thing a forward may return."""

from __future__ import annotations

from torch import Tensor, nn


class Classifier(nn.Module):
    """A multi-layer perceptron that also returns its input, a tensor twice, and decisions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(12, 32), nn.GELU(), nn.Dropout(0.5))
        self.head = nn.Linear(32, 4)
        self.unused = nn.Linear(3, 3)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Float [batch, 12] to outputs that each have the batch first."""
        scores = self.head(self.layers(features))
        return {
            "scores": scores,
            "same_scores": scores,
            "features": features,
            "class_index": scores.argmax(dim=-1),
            "positive": scores > 0,
        }


def build() -> Classifier:
    """Make the network with random weights."""
    return Classifier()
