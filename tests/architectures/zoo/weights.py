"""Random weights under which every input matters and greedy decoding does not repeat itself."""

from __future__ import annotations

import math

import torch

# Upstream's own initialisation (standard deviation 0.02, zero biases, unit norms) makes a tiny
# model almost constant, and a wrong graph almost right.
EMBEDDING_DEVIATION = 0.6
# Larger, or a decoder with tied embeddings writes what it has just read, again and again.
POSITION_DEVIATION = 1.2
VECTOR_DEVIATION = 0.3
# Smaller, or what all places have in common decides the output.
BIAS_DEVIATION = 0.1


@torch.no_grad()
def scatter(
    model: torch.nn.Module, *, seed: int, gain: float, embedding: float = EMBEDDING_DEVIATION
) -> None:
    """Draws every trained parameter anew, and the statistics of batch norms.

    Matrices keep the variance of what they multiply, times `gain` squared. Vectors (biases, norms,
    gates, layer scales) move away from their initial value. Constants, such as sinusoidal
    positions, are left as they are.
    """
    draw = torch.Generator().manual_seed(seed)
    embeddings = {
        id(module.weight): POSITION_DEVIATION if "position" in name else embedding
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Embedding)
    }
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        noise = torch.randn(parameter.shape, generator=draw)
        if id(parameter) in embeddings:
            parameter.copy_(noise * embeddings[id(parameter)])
        elif parameter.ndim < 2:
            parameter.add_(noise * (BIAS_DEVIATION if "bias" in name else VECTOR_DEVIATION))
        else:
            parameter.copy_(noise * gain / math.sqrt(parameter[0].numel()))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=draw) * VECTOR_DEVIATION)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=draw) + 0.5)
