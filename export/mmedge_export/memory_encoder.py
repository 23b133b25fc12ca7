"""The encoder half of an encoder-decoder model: the user's forward up to its decoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge_export.cached_decoder import cross_keys_values
from mmedge_export.replaced_forward import replaced_forward


class MemoryEncoder(nn.Module):
    """Inputs of the model to what every decoder step reads of its memory.

    Called with the model's inputs in order. Returns each decoder layer's cross-attention key and
    value [batch, heads, memory, head_dim], computed here once, not at every step, and then the
    memory's key padding mask [batch, memory], if forward gives the decoder one.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        decoder: str,
        inputs: tuple[str, ...],
        token_input: str,
        start_token_ids: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.model = model
        self.decoder = decoder
        self.inputs = inputs
        self.token_input = token_input
        self.start_token_ids = start_token_ids
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says, to a flat tuple of tensors."""
        call = self.decoder_call(*tensors)
        found = cross_keys_values(attrgetter(self.decoder)(self.model), call.memory)
        padding = call.masks.get("memory_key_padding_mask")
        return tuple(found) if padding is None else (*found, padding)

    def decoder_call(self, *tensors: Tensor) -> DecoderCall:
        """How forward calls the decoder; ProjectError unless it does so once, supportedly.

        The decoder itself is not run: it answers with its input, and what forward makes of the
        answer is dead code, which export removes. Forward always runs to its end, because
        leaving it by an exception would upset the tracer.
        """
        arguments = dict(zip(self.inputs, tensors, strict=True))
        shape = (tensors[0].shape[0], len(self.start_token_ids))
        # The tokens only feed the dead code, so any that are legal will do.
        tokens = torch.full(shape, self.start_token_ids[0], device=tensors[0].device)
        calls: list[DecoderCall] = []

        def record(tgt: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            calls.append(_decoder_call(*args, **kwargs))
            return tgt

        decoder = attrgetter(self.decoder)(self.model)
        with replaced_forward(decoder, record), without_fast_path():
            self.model(**arguments, **{self.token_input: tokens})
        if len(calls) != 1:
            raise ProjectError(
                f"forward calls the decoder {self.decoder!r} {len(calls)} times",
                expected="once",
                where="[recipe] decoder",
            )
        calls[0].check()
        return calls[0]


@dataclass(frozen=True)
class DecoderCall:
    """What forward gives its decoder besides the target: the memory, and masks by name."""

    memory: Tensor
    masks: dict[str, Tensor] = field(default_factory=dict)

    def check(self) -> None:
        """Raise ProjectError where the call depends on what a cached step does not know."""
        for name in ("memory_mask", "tgt_key_padding_mask"):
            if name in self.masks:
                raise ProjectError(
                    f"forward calls the decoder with {name}, which a cached decoder cannot use",
                    expected="at most tgt_mask (causal) and memory_key_padding_mask",
                    where="[recipe] decoder",
                    hint="leave it out in eval mode: generated sequences are not padded, "
                    "and padding of the memory belongs in memory_key_padding_mask",
                )


def _decoder_call(
    memory: Tensor,
    tgt_mask: Tensor | None = None,
    memory_mask: Tensor | None = None,
    tgt_key_padding_mask: Tensor | None = None,
    memory_key_padding_mask: Tensor | None = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
) -> DecoderCall:
    """The arguments of nn.TransformerDecoder.forward after `tgt`; those that are given."""
    masks = {
        "memory_mask": memory_mask,
        "tgt_key_padding_mask": tgt_key_padding_mask,
        "memory_key_padding_mask": memory_key_padding_mask,
    }
    return DecoderCall(memory, {k: mask for k, mask in masks.items() if mask is not None})


@contextmanager
def without_fast_path() -> Iterator[None]:
    """While active, encoder layers run as separate operators.

    In eval mode nn.TransformerEncoderLayer otherwise becomes the one operator
    `_transformer_encoder_layer_fwd`, which has no ONNX counterpart.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
