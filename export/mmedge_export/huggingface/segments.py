"""Which segment of a row each place is in."""

from __future__ import annotations

import torch
from torch import Tensor


def passed(ends: Tensor, length: int) -> Tensor:
    """For each of the numbers below `length`, how many of `ends`, ascending, are not above it."""
    reached = torch.zeros(length + 1, dtype=ends.dtype, device=ends.device)
    reached = reached.scatter_add(0, ends.clamp(max=length), torch.ones_like(ends))
    return reached.cumsum(0)[:length]
