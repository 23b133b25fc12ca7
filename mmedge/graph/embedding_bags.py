"""Bags of embeddings of one size, as a lookup and a reduction, which every engine has.

torch's exporter (2.13) writes a loop over a sequence of tensors, one for each bag, whatever their
sizes: no TensorRT takes sequences, and a loop is slow everywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmedge.optional import require
from mmedge.replaced import replaced

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def as_lookups() -> Iterator[None]:
    """While active, `embedding_bag` of ids [bags, length] is made of simpler operations.

    Other bags (flat ids with offsets, weights whose length is kept down) are left to torch.
    """

    def simpler(original: Any) -> Any:
        signature = inspect.signature(original)

        def embedding_bag(*args: Any, **options: Any) -> Any:
            call = signature.bind(*args, **options)
            call.apply_defaults()
            given = call.arguments
            if given["input"].dim() != 2 or given["max_norm"] is not None:
                return original(*args, **options)
            return _reduced(given)

        return embedding_bag

    with replaced(require("torch.nn.functional"), "embedding_bag", simpler):
        yield


def _reduced(given: dict[str, Any]) -> Tensor:
    """Float [bags, features] of `embedding_bag`'s arguments, with ids int [bags, length]."""
    import torch

    ids, weight, padding = given["input"], given["weight"], given["padding_idx"]
    rows = torch.nn.functional.embedding(ids, weight)
    if given["per_sample_weights"] is not None:
        rows = rows * given["per_sample_weights"].unsqueeze(-1)
    if padding is None:
        return _of_all(rows, given["mode"])
    kept = (ids != padding % weight.shape[0]).unsqueeze(-1)
    if given["mode"] == "max":
        largest = rows.masked_fill(~kept, float("-inf")).amax(1)
        return torch.where(kept.any(1), largest, torch.zeros_like(largest))
    total = rows.masked_fill(~kept, 0.0).sum(1)
    # A bag of nothing but padding is all zeros.
    return total / kept.sum(1).clamp(min=1) if given["mode"] == "mean" else total


def _of_all(rows: Tensor, mode: str) -> Tensor:
    return rows.amax(1) if mode == "max" else rows.mean(1) if mode == "mean" else rows.sum(1)
