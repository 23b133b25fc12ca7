"""A small visual question answering network: a question and an image in, answer scores out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PAD = 0


class QuestionEncoder(nn.Module):
    """Embedding and LSTM over token ids, averaged over the tokens that are not padding."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PAD)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)

    def forward(self, question: Tensor) -> Tensor:
        """Encode int64 ids [batch, length], padded on the right with 0, as float32 [batch, hidden].

        The states computed on padding come after every word and are masked out, so the result
        does not depend on how far a question is padded.
        """
        states, _ = self.lstm(self.embedding(question))
        mask = (question != PAD).to(states.dtype).unsqueeze(-1)
        encoded: Tensor = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return encoded


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation and a projected shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [batch, inputs, h, w] to float32 [batch, outputs, h/stride, w/stride]."""
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(y + self.shortcut(x))


class ImageEncoder(nn.Module):
    """A residual network whose last feature map is averaged within each quarter of the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            ResidualBlock(width, width, stride=1),
            ResidualBlock(width, 2 * width, stride=2),
            ResidualBlock(2 * width, 4 * width, stride=1),
        )
        self.pool = nn.AvgPool2d(7)

    def forward(self, image: Tensor) -> Tensor:
        """Encode float32 [batch, 3, 56, 56] as float32 [batch, 16 * width]."""
        pooled: Tensor = self.pool(self.blocks(self.stem(image)))
        return pooled.flatten(1)


class VQA(nn.Module):
    """Both encoders, and a classifier over their concatenated outputs."""

    def __init__(
        self,
        question_encoder: nn.Module,
        image_encoder: nn.Module,
        classifier: nn.Module,
    ) -> None:
        super().__init__()
        self.question_encoder = question_encoder
        self.image_encoder = image_encoder
        self.classifier = classifier

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        """Score every answer.

        image: float32 [batch, 3, 56, 56]; question: int64 [batch, length].
        Returns logits, float32 [batch, answers].
        """
        features = torch.cat([self.question_encoder(question), self.image_encoder(image)], dim=1)
        logits: Tensor = self.classifier(features)
        return logits


def build(
    *,
    vocabulary: int = 47,
    answers: int = 17,
    embedding: int = 32,
    hidden: int = 64,
    width: int = 24,
    features: int = 256,
) -> VQA:
    """Make the network with random weights; the defaults fit `weights.safetensors`."""
    classifier = nn.Sequential(
        nn.Linear(hidden + 16 * width, features),
        nn.ReLU(),
        nn.Linear(features, features),
        nn.ReLU(),
        nn.Linear(features, answers),
    )
    return VQA(QuestionEncoder(vocabulary, embedding, hidden), ImageEncoder(width), classifier)
