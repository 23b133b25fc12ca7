"""Everything before the first token: a model's inputs to what its decoder attends to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge_export.huggingface.cache_tensors import cache_tensors
from mmedge_export.huggingface.generator_arguments import generator_arguments
from mmedge_export.huggingface.noted import noted
from mmedge_export.huggingface.uncut_features import uncut_features
from mmedge_export.huggingface.without_checks import without_checks

STATES = "encoder_hidden_states"


class Cut(Protocol):
    """A part of the model that is a component of its own."""

    def answering(self, value: Tensor) -> AbstractContextManager[None]:
        """A context in which the part answers with `value`."""
        ...


class MemoryEncoder(nn.Module):
    """Inputs to the keys and values that every layer's cross-attention reads.

    Called with the model's inputs named `arguments`, then the outputs of the `cuts`. Returns
    each layer's key and value [batch, heads, memory, head_dim] (or, where the decoder keeps
    none, the encoder's states), then what else the decoder is told: `extras`.

    It is the model's own forward with the start tokens. What the decoder makes of them is not
    looked at: exporting drops it.

    blanks: an example of each input that only the cuts look at.
    """

    def __init__(
        self,
        model: nn.Module,
        generator: nn.Module,
        arguments: tuple[str, ...],
        *,
        start: Tensor,
        cuts: tuple[Cut, ...] = (),
        blanks: Mapping[str, Tensor] = {},
        extras: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.generator = generator
        self.arguments = arguments
        self.start = start
        self.cuts = cuts
        self.blanks = dict(blanks)
        self.extras = extras
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says."""
        count = len(self.arguments)
        given = dict(zip(self.arguments, tensors[:count], strict=True))
        batch = tensors[0].shape[0]
        given |= blanks_of(self.blanks, batch)
        with ExitStack() as stack:
            for cut, value in zip(self.cuts, tensors[count:], strict=True):
                stack.enter_context(cut.answering(value))
            told, result = self.run(given)
        return (*memory_of(result), *(told[name] for name in self.extras))

    @property
    def generates(self) -> bool:
        """Whether the model is its own generator."""
        return self.generator is self.model

    def run(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """What the decoder is told before the first token, and what it makes of it."""
        told = self.told(inputs)
        start = self.start.expand(next(iter(told.values())).shape[0], -1)
        with _as_traced(), noted_encoder(self.generator) as encoded:
            result = self.generator(**_first_call(self.generator, told, start), use_cache=True)
        return told | fields_of(encoded[0] if encoded else None), result

    def told(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the generator is told by `generate`."""
        with _as_traced():
            return generator_arguments(self.model, self.generator, inputs)


def blanks_of(likes: Mapping[str, Tensor], batch: int) -> dict[str, Tensor]:
    """An entry of each, for every example of a batch."""
    return {name: like[:1].expand(batch, *like.shape[1:]) for name, like in likes.items()}


@contextmanager
def _as_traced() -> Iterator[None]:
    """Sizes are probed one at a time: a text need not fit the number of images then."""
    with ExitStack() as stack:
        stack.enter_context(without_checks())
        if torch.compiler.is_exporting():
            stack.enter_context(uncut_features())
        yield


def noted_encoder(generator: Any) -> AbstractContextManager[list[Any]]:
    """The results of the generator's encoder, if it has one, while this is active."""
    if generator.config.is_encoder_decoder:
        return noted(generator.get_encoder(), "forward")
    return nullcontext([])


def fields_of(outputs: Any) -> dict[str, Tensor]:
    """What an encoder says besides its states, as `encoder_outputs.NAME`."""
    items = dict(outputs).items() if isinstance(outputs, Mapping) else ()
    return {
        f"encoder_outputs.{name}": value
        for name, value in items
        if isinstance(value, Tensor) and name != "last_hidden_state"
    }


def _first_call(generator: Any, told: Mapping[str, Tensor], start: Tensor) -> dict[str, Tensor]:
    """The arguments of forward before the first token; the memory depends on no prompt."""
    if generator.config.is_encoder_decoder:
        rest = {name: v for name, v in told.items() if not name.startswith("decoder_")}
        return {**rest, "decoder_input_ids": start}
    rest = {name: v for name, v in told.items() if name != "attention_mask"}
    return {**rest, "input_ids": start}


def memory_of(result: Any) -> list[Tensor]:
    """Keys and values of the cross-attention, or the states it is computed from at every step."""
    cache = getattr(result, "past_key_values", None)
    if cache is None:
        raise ProjectError(
            "the decoder keeps no cache", found=f"{type(result).__name__} without past_key_values"
        )
    cross = getattr(cache, "cross_attention_cache", None)
    if cross is not None and len(cross.layers):
        return cache_tensors(cross)
    states: Tensor | None = getattr(result, "encoder_last_hidden_state", None)
    if states is None:
        raise ProjectError(
            "the decoder's cache has no cross-attention",
            found=type(cache).__name__,
            expected="an EncoderDecoderCache, or encoder_last_hidden_state beside it",
        )
    return [states]
