"""The captioning network: a residual image encoder and a transformer decoder that writes words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POSITIONS = 16  # of words in a caption
CELLS = 64  # of the encoder's last feature map, 8 x 8


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
    """A residual network whose 8 x 8 features, with their places, are what the decoder reads."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            ResidualBlock(width, width, stride=1),
            ResidualBlock(width, 2 * width, stride=2),
            ResidualBlock(2 * width, dim, stride=2),
        )
        self.places = nn.Parameter(0.1 * torch.randn(1, CELLS, dim))
        self.norm = nn.LayerNorm(dim)

    def features(self, image: Tensor) -> Tensor:
        """Map float32 [batch, 1, 64, 64] to float32 [batch, dim, 8, 8]."""
        features: Tensor = self.blocks(self.stem(image))
        return features

    def remember(self, features: Tensor) -> Tensor:
        """Lay out features [batch, dim, 8, 8] as the decoder's memory, [batch, 64, dim]."""
        memory: Tensor = self.norm(features.flatten(2).transpose(1, 2) + self.places)
        return memory

    def forward(self, image: Tensor) -> Tensor:
        """Encode float32 [batch, 1, 64, 64] as float32 [batch, 64, dim]."""
        return self.remember(self.features(image))


class Captioner(nn.Module):
    """The image encoder, and a causal decoder over the words so far."""

    def __init__(self, *, words: int, width: int, dim: int, heads: int, layers: int) -> None:
        super().__init__()
        self.image_encoder = ImageEncoder(width, dim)
        self.token_embedding = nn.Embedding(words, dim)
        self.position_embedding = nn.Embedding(POSITIONS, dim)
        layer = nn.TransformerDecoderLayer(
            dim, heads, 2 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(dim))
        self.head = nn.Linear(dim, words)

    def forward(self, image: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """Score the next word after each word.

        image: float32 [batch, 1, 64, 64]; decoder_input_ids: int64 [batch, length].
        Returns logits, float32 [batch, length, words].
        """
        return self.write(self.image_encoder(image), decoder_input_ids)

    def write(self, memory: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """As forward, of an image that is encoded already."""
        length = decoder_input_ids.shape[1]
        positions = torch.arange(length, device=memory.device)
        words = self.token_embedding(decoder_input_ids) + self.position_embedding(positions)
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=memory.device)
        hidden = self.decoder(words, memory, tgt_mask=mask, tgt_is_causal=True)
        logits: Tensor = self.head(hidden)
        return logits


def build(
    *, words: int = 20, width: int = 16, dim: int = 64, heads: int = 4, layers: int = 2
) -> Captioner:
    """Make the network with random weights; the defaults fit `weights.safetensors`."""
    return Captioner(words=words, width=width, dim=dim, heads=heads, layers=layers)
