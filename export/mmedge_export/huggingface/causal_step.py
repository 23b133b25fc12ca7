"""A causal decoder with a growing cache: one graph for the prompt and for every token after it."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from mmedge_export.huggingface.cache_tensors import cache_tensors, growing_cache


class CausalStep(nn.Module):
    """New tokens and the past to the last token's logits and the present.

    Called with the new tokens (embeddings [batch, new, hidden], or ids [batch, new]), the mask
    int64 [batch, past + new] and the positions [batch, new] or [axes, batch, new] where the
    decoder takes them, then each layer's past key and value [batch, heads, past, head_dim].
    Returns logits [batch, 1, vocabulary] of the last position only (a prompt's others are not
    needed to continue it), then each layer's present.

    token_argument: "inputs_embeds" or "input_ids".
    """

    def __init__(
        self, generator: nn.Module, token_argument: str, *, mask: bool, positions: bool
    ) -> None:
        super().__init__()
        self.model = generator
        self.token_argument = token_argument
        self.mask = mask
        self.positions = positions
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says."""
        given = list(tensors)
        arguments: dict[str, Any] = {self.token_argument: given.pop(0)}
        if self.mask:
            arguments["attention_mask"] = given.pop(0)
        if self.positions:
            arguments["position_ids"] = given.pop(0)
        if "logits_to_keep" in inspect.signature(type(self.model).forward).parameters:
            arguments["logits_to_keep"] = 1
        result = self.model(**arguments, past_key_values=growing_cache(given), use_cache=True)
        return (result.logits[:, -1:], *cache_tensors(result.past_key_values))
