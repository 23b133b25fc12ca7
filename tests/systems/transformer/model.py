"""A small transformer that describes in words what it sees and hears, as its text input asks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Describer(nn.Module):
    """Embedders, self-attention over all modalities at once, and a decoder that writes words."""

    def __init__(
        self,
        *,
        dim: int,
        norm_first: bool,
        batch_first: bool,
        activation: str,
        bias: bool,
        positions: str,
        embedding_scale: float,
        mask_padding: bool,
    ) -> None:
        super().__init__()
        common = {
            "dim_feedforward": 2 * dim,
            "dropout": 0.0,
            "activation": activation,
            "norm_first": norm_first,
            "batch_first": batch_first,
            "bias": bias,
        }
        self.image_embedding = nn.Conv2d(3, dim, 8, stride=8)
        self.audio_embedding = nn.Sequential(
            nn.Conv1d(1, dim, 20, stride=20), nn.GELU(), nn.Conv1d(dim, dim, 1)
        )
        self.text_embedding = nn.Embedding(8, dim, padding_idx=0)
        self.source_positions = nn.Parameter(0.1 * torch.randn(1, 24, dim))
        encoder_layer = nn.TransformerEncoderLayer(dim, 4, **common)
        self.encoder = nn.TransformerEncoder(encoder_layer, 2, enable_nested_tensor=False)
        self.token_embedding = nn.Embedding(11, dim)
        self.position_embedding = nn.Embedding(16, dim)
        self.register_buffer("waves", sinusoids(16, dim), persistent=False)
        decoder_layer = nn.TransformerDecoderLayer(dim, 4, **common)
        norm = nn.LayerNorm(dim) if norm_first else None
        self.decoder = nn.TransformerDecoder(decoder_layer, 2, norm)
        self.head = nn.Linear(dim, 11)
        self.batch_first = batch_first
        self.positions = positions
        self.embedding_scale = embedding_scale
        self.mask_padding = mask_padding

    def forward(
        self, image: Tensor, audio: Tensor, text: Tensor, decoder_input_ids: Tensor
    ) -> Tensor:
        """Score the next word after each word.

        image: float32 [batch, 3, 16, 16]; audio: float32 [batch, 240]; text: int64 [batch, up to
        8], 0 is padding; decoder_input_ids: int64 [batch, length].
        Returns logits, float32 [batch, length, words].
        """
        parts = [
            self.image_embedding(image).flatten(2).transpose(1, 2),
            self.audio_embedding(audio.unsqueeze(1)).transpose(1, 2),
            self.text_embedding(text),
        ]
        source = torch.cat(parts, dim=1)
        source = source + self.source_positions[:, : source.shape[1]]
        target = self.token_embedding(decoder_input_ids) * self.embedding_scale
        length = decoder_input_ids.shape[1]
        if self.positions == "sinusoidal":
            target = target + self.waves[:, :length]
        else:
            target = target + self.position_embedding(torch.arange(length, device=target.device))
        if not self.batch_first:
            source, target = source.transpose(0, 1), target.transpose(0, 1)
        padding = None
        if self.mask_padding:
            padding = torch.cat([text.new_zeros(text.shape[0], 16).bool(), text == 0], dim=1)
        causal = nn.Transformer.generate_square_subsequent_mask(length, device=target.device)
        memory = self.encoder(source, src_key_padding_mask=padding)
        decoded = self.decoder(
            target, memory, tgt_mask=causal, memory_key_padding_mask=padding, tgt_is_causal=True
        )
        logits: Tensor = self.head(decoded if self.batch_first else decoded.transpose(0, 1))
        return logits


def sinusoids(positions: int, dim: int) -> Tensor:
    """Sines and cosines [1, positions, dim] of "Attention Is All You Need", section 3.5."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(positions)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(1, positions, dim)


def build(
    *,
    dim: int = 32,
    norm_first: bool = True,
    batch_first: bool = True,
    activation: str = "gelu",
    bias: bool = True,
    positions: str = "learned",
    embedding_scale: float = 1.0,
    mask_padding: bool = False,
) -> Describer:
    """Make the network with random weights; the defaults fit `weights.safetensors`."""
    return Describer(
        dim=dim,
        norm_first=norm_first,
        batch_first=batch_first,
        activation=activation,
        bias=bias,
        positions=positions,
        embedding_scale=embedding_scale,
        mask_padding=mask_padding,
    )
