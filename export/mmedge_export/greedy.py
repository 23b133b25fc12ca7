"""Greedy generation without a cache: the reference that generation with one is compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmedge.wiring import Generation


def greedy(
    step: Callable[[Tensor], Tensor], generation: Generation, *, batch: int, device: str = "cpu"
) -> Tensor:
    """The tokens that `step` finds likeliest, int64 [batch, length].

    step: int64 tokens [batch, so far] to logits [batch, so far, vocabulary].
    The start tokens are left out, the end token is not; after it comes the pad token. The length
    is that of the longest sequence, at most `compared_tokens`.
    """
    start = torch.tensor(generation.start_token_ids, device=device)
    ends = torch.tensor(generation.end_token_ids, dtype=torch.int64, device=device)
    tokens = start.expand(batch, -1)
    ended = torch.zeros(batch, dtype=torch.bool, device=device)
    for _ in range(generation.compared_tokens):
        chosen = step(tokens)[:, -1].argmax(dim=-1)
        chosen = chosen.masked_fill(ended, generation.pad_token_id)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        ended = ended | torch.isin(chosen, ends)
        if bool(ended.all()):
            break
    return tokens[:, len(start) :]
