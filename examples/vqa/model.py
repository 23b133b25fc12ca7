"""A small visual question answering network: a question and an image in, answer scores out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PAD = 0
DIGITS = 10
COLOURS = 5
IMAGE_FEATURES = 4 * (DIGITS + 1) + 4 * (COLOURS + 1) + DIGITS * COLOURS


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
    """A residual network that reads each quarter of the image as a digit and a colour."""

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
        self.digit = nn.Conv2d(4 * width, DIGITS + 1, 1)
        self.colour = nn.Conv2d(4 * width, COLOURS + 1, 1)

    def read(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score what each quarter of float32 [batch, 3, 56, 56] shows.

        Returns logits float32 [batch, DIGITS + 1, 2, 2] and [batch, COLOURS + 1, 2, 2]; the last
        class of each stands for an empty quarter.
        """
        quarters = self.pool(self.blocks(self.stem(image)))
        return self.digit(quarters), self.colour(quarters)

    def forward(self, image: Tensor) -> Tensor:
        """Encode float32 [batch, 3, 56, 56] as float32 [batch, IMAGE_FEATURES].

        The features are the probabilities of digits and of colours, by quarter, and how many of
        each pair of digit and colour are expected in the image. The pairs are what a question
        such as "which digit is red?" is about, and a classifier is slow to learn them.
        """
        digits, colours = (logits.softmax(dim=1).flatten(2) for logits in self.read(image))
        pairs = digits[:, :DIGITS].unsqueeze(2) * colours[:, :COLOURS].unsqueeze(1)
        expected = pairs.sum(dim=-1)
        return torch.cat([digits.flatten(1), colours.flatten(1), expected.flatten(1)], dim=1)


class VQA(nn.Module):
    """Both encoders, and a classifier over their concatenated outputs."""

    def __init__(
        self,
        question_encoder: QuestionEncoder,
        image_encoder: ImageEncoder,
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
    width: int = 16,
    units: int = 768,
) -> VQA:
    """Make the network with random weights; the defaults fit `weights.safetensors`."""
    classifier = nn.Sequential(
        nn.BatchNorm1d(hidden + IMAGE_FEATURES),
        nn.Linear(hidden + IMAGE_FEATURES, units),
        nn.ReLU(),
        nn.Linear(units, 256),
        nn.ReLU(),
        nn.Linear(256, answers),
    )
    return VQA(QuestionEncoder(vocabulary, embedding, hidden), ImageEncoder(width), classifier)
