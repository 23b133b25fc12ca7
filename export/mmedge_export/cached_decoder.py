"""An nn.TransformerDecoder in two halves: keys and values of a memory, and decoding with a cache.

Nothing is rewritten but attention. Both halves run the user's own forward methods; only while
they run, the attention modules answer with `F.scaled_dot_product_attention` over cached keys and
values, from the same weights. So `norm_first`, the activation, biases and the like are right by
construction, and every node keeps the path of the user's module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmedge_export.replaced_forward import replaced_forward

Pair: TypeAlias = tuple[Tensor, Tensor]


class DecoderPaths(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a model keeps what a decoder step is made of, as dotted paths.

    decoder: an nn.TransformerDecoder.
    token_embedding: a module, ids [batch, length] -> [batch, length, dim].
    head: a module, [batch, length, dim] -> logits; or a tied weight [vocabulary, dim].
    position_embedding: an nn.Embedding, or a parameter or buffer [positions, dim] or
        [1, positions, dim] or [positions, 1, dim], added to the embedded tokens.
    embedding_scale: what the token embedding is multiplied with before positions are added.
    """

    decoder: str
    token_embedding: str
    head: str
    position_embedding: str = ""
    embedding_scale: float = 1.0


class CachedDecoder(nn.Module):
    """The decoder half: tokens and what is known of the past to logits and the present.

    Called with, in order: each layer's cross-attention key and value [batch, heads, memory,
    head_dim]; the memory's key padding mask [batch, memory] where `padded`; int64 tokens
    [batch, length]; each layer's past key and value [batch, heads, past, head_dim], where past
    may be 0. Returns logits [batch, length, vocabulary], then each layer's present key and value
    [batch, heads, past + length, head_dim].
    """

    def __init__(self, model: nn.Module, paths: DecoderPaths, *, padded: bool) -> None:
        super().__init__()
        self.model = model
        self.paths = paths
        self.padded = padded
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says, to a flat tuple of tensors."""
        # Looked up by path each time: export replaces parameters while it traces.
        decoder = attrgetter(self.paths.decoder)(self.model)
        fixed = 2 * len(decoder.layers)
        cross = _pairs(tensors[:fixed])
        padding = tensors[fixed] if self.padded else None
        tokens, *rest = tensors[fixed + self.padded :]
        past = _pairs(rest)
        target = _by_position(decoder, self._embed(tokens, past[0][0].shape[2]))
        present: list[Tensor] = []
        with cached_attention(decoder, cross, past, padding, into=present):
            # The memory is never looked at: its keys and values are given.
            hidden = decoder(target, memory=target)
        return (self._logits(_by_position(decoder, hidden)), *present)

    def _embed(self, tokens: Tensor, past: int) -> Tensor:
        embedded: Tensor = attrgetter(self.paths.token_embedding)(self.model)(tokens)
        embedded = embedded * self.paths.embedding_scale
        if not self.paths.position_embedding:
            return embedded
        positions = torch.arange(past, past + tokens.shape[1], device=tokens.device)
        table = attrgetter(self.paths.position_embedding)(self.model)
        looked_up = isinstance(table, nn.Module)
        rows = table(positions) if looked_up else table.flatten(end_dim=-2)[positions]
        positioned: Tensor = embedded + rows
        return positioned

    def _logits(self, hidden: Tensor) -> Tensor:
        head = attrgetter(self.paths.head)(self.model)
        logits: Tensor = F.linear(hidden, head) if isinstance(head, Tensor) else head(hidden)
        return logits


@contextmanager
def cached_attention(
    decoder: nn.TransformerDecoder,
    cross: Sequence[Pair],
    past: Sequence[Pair],
    padding: Tensor | None,
    *,
    into: list[Tensor],
) -> Iterator[None]:
    """While active, the decoder's attention uses the given keys and values.

    cross, past: per layer, keys and values [batch, heads, memory or past, head_dim].
    padding: bool (true is ignored) or float (is added), [batch, memory].
    into: receives each layer's past and present keys and values, in order.
    """
    if padding is not None:
        padding = padding[:, None, None, :]
        padding = ~padding if padding.dtype == torch.bool else padding
    with ExitStack() as stack:
        for layer, memory, before in zip(decoder.layers, cross, past, strict=True):
            attend = _self_attention(layer.self_attn, before, into)
            stack.enter_context(replaced_forward(layer.self_attn, attend))
            attend = _cross_attention(layer.multihead_attn, memory, padding)
            stack.enter_context(replaced_forward(layer.multihead_attn, attend))
        yield


def cross_keys_values(decoder: nn.TransformerDecoder, memory: Tensor) -> list[Tensor]:
    """Each layer's cross-attention key and value of `memory`, [batch, heads, memory, head_dim].

    memory: in the decoder's own layout, [batch, memory, dim] or [memory, batch, dim].
    """
    found: list[Tensor] = []
    for layer in decoder.layers:
        attention = layer.multihead_attn

        def keys_values(memory: Tensor, attention: nn.MultiheadAttention = attention) -> Any:
            return _project(attention, memory, 1, 3)

        # Called as a module, so that export attributes the projection to the user's attention.
        with replaced_forward(attention, keys_values):
            found += attention(memory)
    return found


def _self_attention(
    attention: nn.MultiheadAttention, past: Pair, into: list[Tensor]
) -> Callable[..., Any]:
    def forward(query: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
        heads, key, value = _project(attention, query, 0, 3)
        key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        into.extend((key, value))
        mask = _causal_mask(heads.shape[2], key.shape[2], heads.device)
        return _attend(attention, heads, (key, value), mask), None

    return forward


def _cross_attention(
    attention: nn.MultiheadAttention, memory: Pair, padding: Tensor | None
) -> Callable[..., Any]:
    def forward(query: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
        (heads,) = _project(attention, query, 0, 1)
        # Spelt out for every query: ONNX Runtime 1.31 does not broadcast that axis of a mask.
        mask = None if padding is None else padding.expand(-1, -1, heads.shape[2], -1)
        return _attend(attention, heads, memory, mask), None

    return forward


def _causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """Bool [queries, keys]: the queries are the last positions, and see those up to their own.

    `is_causal=True` would align the first query with the first key, which is wrong after a past.
    """
    query_positions = torch.arange(keys - queries, keys, device=device)
    return torch.arange(keys, device=device) <= query_positions[:, None]


def _project(
    attention: nn.MultiheadAttention, x: Tensor, first: int, last: int
) -> tuple[Tensor, ...]:
    """Parts `first` to `last` of (query, key, value), each [batch, heads, length, head_dim].

    x: [batch, length, dim] or [length, batch, dim], as `attention` takes it.
    """
    rows = slice(first * attention.embed_dim, last * attention.embed_dim)
    bias = None if attention.in_proj_bias is None else attention.in_proj_bias[rows]
    joined = F.linear(_by_position(attention, x), attention.in_proj_weight[rows], bias)
    parts = joined.chunk(last - first, dim=-1)
    shape = (*joined.shape[:2], attention.num_heads, attention.head_dim)
    return tuple(part.view(shape).transpose(1, 2) for part in parts)


def _attend(
    attention: nn.MultiheadAttention, heads: Tensor, key_value: Pair, mask: Tensor | None
) -> Tensor:
    attended = F.scaled_dot_product_attention(heads, *key_value, attn_mask=mask)
    result: Tensor = attention.out_proj(attended.transpose(1, 2).flatten(2))
    return _by_position(attention, result)


def batch_first(module: nn.TransformerDecoder | nn.MultiheadAttention) -> bool:
    """Whether the module's sequences are [batch, length, dim] rather than [length, batch, dim]."""
    attention = module if isinstance(module, nn.MultiheadAttention) else module.layers[0].self_attn
    return bool(attention.batch_first)


def _by_position(module: nn.TransformerDecoder | nn.MultiheadAttention, x: Tensor) -> Tensor:
    """[batch, length, dim] to the layout of `module`, or back."""
    return x if batch_first(module) else x.transpose(0, 1)


def _pairs(tensors: Sequence[Tensor]) -> list[Pair]:
    return list(zip(tensors[::2], tensors[1::2], strict=True))
