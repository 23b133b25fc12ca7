"""A causal decoder with a growing cache: one graph for the prompt and for every token after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mmedge_export.huggingface.cache_tensors import cache_tensors, growing_cache
from mmedge_export.huggingface.token_places import TokenTypes, typed_masks
from mmedge_export.replaced_forward import replaced_forward


class CausalStep(nn.Module):
    """New tokens and the past to the last token's logits and the present.

    Called with the new tokens (embeddings [batch, new, hidden], or ids [batch, new]), the mask
    int64 [batch, past + new] and the positions [batch, new] or [axes, batch, new] where the
    decoder takes them, types int64 [batch, past + new] where it has them, then each layer's past
    key and value [batch, heads, past, head_dim].
    Returns logits [batch, 1, vocabulary] of the last position only (a prompt's others are not
    needed to continue it), then each layer's present.

    token_argument: "inputs_embeds" or "input_ids".
    first: what the decoder counts positions from; those that are given count from 0.
    """

    def __init__(
        self,
        generator: nn.Module,
        token_argument: str,
        *,
        mask: bool,
        positions: bool,
        first: int = 0,
        types: TokenTypes | None = None,
    ) -> None:
        super().__init__()
        self.model = generator
        self.token_argument = token_argument
        self.mask = mask
        self.positions = positions
        self.first = first
        self.types = types
        # Of the past's tensors; another kind of cache may stand in.
        self.make_cache: Callable[[Sequence[Tensor]], Any] = growing_cache
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says."""
        given = list(tensors)
        arguments: dict[str, Any] = {self.token_argument: given.pop(0)}
        if self.mask:
            arguments["attention_mask"] = given.pop(0)
        if self.positions:
            arguments["position_ids"] = given.pop(0) + self.first
        types = None if self.types is None else given.pop(0)
        if "logits_to_keep" in inspect.signature(type(self.model).forward).parameters:
            arguments["logits_to_keep"] = 1
        cache = self.make_cache(given)
        with self._masked(cache, arguments, types):
            result = self.model(**arguments, past_key_values=cache, use_cache=True)
        return (result.logits[:, -1:], *cache_tensors(result.past_key_values))

    @contextmanager
    def _masked(
        self, cache: Any, arguments: dict[str, Any], types: Tensor | None
    ) -> Iterator[None]:
        """While active, the decoder gets the mask that the types make."""
        if self.types is None or types is None:
            yield
            return
        masks = typed_masks(self.model, cache, arguments, types)
        forward = self.types.decoder.forward

        def masked(*args: Any, **kwargs: Any) -> Any:
            return forward(*args, **{**kwargs, "attention_mask": masks})

        with replaced_forward(self.types.decoder, masked):
            yield
