"""Attention within each of many pieces that lie in one row, without cutting the row.

Upstream's encoders of patches cut the queries, keys and values by the values of a tensor of
lengths, attend piece by piece, and join the results. Here the row stays whole and a mask says
which patches belong together. The mask is as long and as wide as the patches of one example,
whose images are often one: a cut into pieces of one size would need fewer, and would be wrong
where images differ.

Upstream (transformers 5.23): the `else` branch of Qwen2-VL's VisionAttention.forward and its kin.
transformers' own patch for exporting them takes all pieces for equally long, without a word where
they are not; it is undone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.optional import require
from mmedge_export.huggingface.segments import passed


@dataclass
class PackedAttention:
    """What is to be attended to in pieces.

    batch: examples; each has as many patches, and no piece belongs to two of them.
    cut: a tensor that was left whole, and the lengths of the pieces it should be cut into.
    """

    batch: int
    cut: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def leave_whole(self, tensor: Tensor, lengths: Tensor) -> None:
        """Note that `tensor` should have been cut."""
        self.cut.append((tensor, lengths))

    @contextmanager
    def active(self) -> Iterator[None]:
        """While active, attention to what was left whole stays within its pieces."""
        interface = require("transformers.modeling_utils").AttentionInterface
        original = interface.get_interface

        def get_interface(*args: Any, **kwargs: Any) -> Callable[..., Any]:
            return self._within_pieces(original(*args, **kwargs))

        interface.get_interface = get_interface
        try:
            yield
        finally:
            interface.get_interface = original

    def _within_pieces(self, attend: Callable[..., Any]) -> Callable[..., Any]:
        def attention(
            module: Any, query: Tensor, key: Tensor, value: Tensor, **kwargs: Any
        ) -> tuple[Tensor, Any]:
            lengths = next((found for tensor, found in self.cut if tensor is query), None)
            if lengths is None:
                result: tuple[Tensor, Any] = attend(module, query, key, value, **kwargs)
                return result
            self.cut.clear()
            rows = [_by_example(tensor, self.batch) for tensor in (query, key, value)]
            kwargs["attention_mask"] = _mask(lengths, self.batch, query)
            attended, weights = attend(module, *rows, **kwargs)
            return attended.flatten(0, 1)[None], weights

        return attention


def _by_example(tensor: Tensor, batch: int) -> Tensor:
    """[1, heads, batch * patches, dim] to [batch, heads, patches, dim]."""
    _, heads, _, width = tensor.shape
    return tensor.reshape(heads, batch, -1, width).transpose(0, 1)


def _mask(lengths: Tensor, batch: int, like: Tensor) -> Tensor:
    """[batch, 1, patches, patches]: 0 within a piece, else the smallest number."""
    piece = passed(lengths.cumsum(0), like.shape[2]).reshape(batch, 1, -1)
    together = piece[..., :, None] == piece[..., None, :]
    far = torch.finfo(like.dtype).min
    return torch.where(together, 0.0, far).to(like.dtype)


@contextmanager
def forwards_kept(
    model: nn.Module, patches: Callable[[], AbstractContextManager[Any]]
) -> Iterator[None]:
    """While active, `patches` are applied, but not to attention within pieces."""
    packed = {
        kind: vars(kind)["forward"]
        for kind in {type(module) for module in model.modules()}
        if "forward" in vars(kind) and "cu_seqlens" in inspect.signature(kind.forward).parameters
    }
    with patches():
        patched = {kind: vars(kind)["forward"] for kind in packed}
        try:
            for kind, forward in packed.items():
                kind.forward = forward
            yield
        finally:
            for kind, forward in patched.items():
                kind.forward = forward
