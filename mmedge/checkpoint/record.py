"""What was loaded into a model, for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmedge.checkpoint.header import TensorEntry

if TYPE_CHECKING:
    import torch

# How many names an error lists before it only counts.
LISTED = 20


@dataclass(frozen=True)
class AppliedWeights:
    """What went into the model.

    parameters: number of trainable values. size_bytes: of parameters and buffers, as stored.
    dtypes: dtype -> number of tensors, as stored. converted: name -> "float16 -> float32".
    notes: decisions taken on the way, in sentences.
    """

    tensors: int
    parameters: int
    size_bytes: int
    dtypes: dict[str, int] = field(default_factory=dict)
    converted: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def summarize_weights(
    model: torch.nn.Module,
    stored: Sequence[TensorEntry],
    *,
    converted: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
) -> AppliedWeights:
    """The record of `model` with the tensors `stored` of a checkpoint in it."""
    return AppliedWeights(
        tensors=len(stored),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        size_bytes=sum(entry.size_bytes for entry in stored),
        dtypes=dict(Counter(entry.dtype for entry in stored)),
        converted=dict(converted or {}),
        notes=notes,
    )


def tensor_entries(state: Mapping[str, torch.Tensor]) -> tuple[TensorEntry, ...]:
    """Name, dtype, shape and size of every tensor of a state_dict."""
    return tuple(
        TensorEntry(name, dtype_name(t), tuple(t.shape), t.numel() * t.element_size())
        for name, t in state.items()
    )


def listing(items: list[str]) -> str:
    """The first items, one a line, and how many more there are."""
    more = [f"... and {len(items) - LISTED} more"] if len(items) > LISTED else []
    return "\n".join([*items[:LISTED], *more])


def dtype_name(tensor: torch.Tensor) -> str:
    """The dtype without "torch."."""
    return str(tensor.dtype).removeprefix("torch.")
