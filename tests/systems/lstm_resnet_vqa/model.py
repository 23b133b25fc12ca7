"""Visual question answering: an LSTM over the question, ResNet-18 over the image, one head."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut ("Deep Residual Learning", He et al. 2015, fig. 2)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Float [batch, channels_in, height, width] to [batch, channels_out, ...]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet18(nn.Module):
    """ResNet-18 without its classifier: 512 features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self.layer(64, 64, stride=1)
        self.layer2 = self.layer(64, 128, stride=2)
        self.layer3 = self.layer(128, 256, stride=2)
        self.layer4 = self.layer(256, 512, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    @staticmethod
    def layer(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
        """Two basic blocks."""
        return nn.Sequential(
            BasicBlock(channels_in, channels_out, stride),
            BasicBlock(channels_out, channels_out, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Float [batch, 3, height, width] to [batch, 512]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.avgpool(x).flatten(1)


class QuestionEncoder(nn.Module):
    """Word ids to the last hidden state of an LSTM."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 64, padding_idx=0)
        self.lstm = nn.LSTM(64, width, batch_first=True)

    def forward(self, question: Tensor) -> Tensor:
        """Int64 [batch, words] to float [batch, width]."""
        _, (hidden, _) = self.lstm(self.embedding(question))
        return hidden[-1]


class VQA(nn.Module):
    """Question and image features, side by side, to answer logits."""

    def __init__(self, vocabulary: int, answers: int) -> None:
        super().__init__()
        self.question_encoder = QuestionEncoder(vocabulary, 128)
        self.image_encoder = ResNet18()
        self.head = nn.Linear(128 + 512, answers)

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        """Logits, float [batch, answers]."""
        question_features = self.question_encoder(question)
        image_features = self.image_encoder(image)
        return self.head(torch.cat([question_features, image_features], dim=1))


def build(vocabulary: int = 50, answers: int = 10) -> VQA:
    """Make the network with random weights."""
    return VQA(vocabulary, answers)
