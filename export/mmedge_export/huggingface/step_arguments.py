"""What a decoder with cross-attention is told at every step, besides its tokens and its cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmedge.errors import ProjectError
from mmedge.recipes import Tensors
from mmedge_export.huggingface.cross_memory import STATES, MemoryEncoder, fields_of
from mmedge_export.huggingface.decoder_beginning import Beginning
from mmedge_export.huggingface.recording import Recording

# Arguments of a step that are about its tokens and its cache.
_STEPPING = frozenset(
    {"input_ids", "decoder_input_ids", "past_key_values", "encoder_outputs", STATES, "use_cache"}
)


@dataclass(frozen=True)
class StepArguments:
    """Arguments of the decoder's forward.

    extras: tensors that are the same at every step (the encoder's padding mask), by the name of
        the argument, or of the entry of `encoder_outputs`.
    inputs: those of them that are inputs of the model; the encoder makes the others.
    mask, positions: names of the arguments for those of the tokens, where a prompt is padded.
    constants: what is no tensor.
    container: the type of `encoder_outputs`.
    """

    extras: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    mask: str | None = None
    positions: str | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    container: Callable[..., Any] = dict

    @property
    def made(self) -> tuple[str, ...]:
        """Extras that the encoder makes."""
        return tuple(name for name in self.extras if name not in self.inputs)


def step_arguments(
    whole: MemoryEncoder, recording: Recording, begin: Beginning, example: Tensors
) -> StepArguments:
    """As `generate` called the decoder in the last recorded step."""
    step = recording.steps[-1]
    encodes = bool(recording.generator.config.is_encoder_decoder)  # type: ignore[union-attr]
    side = "decoder_" if encodes else ""
    mask, positions = f"{side}attention_mask", f"{side}position_ids"
    rest = {k: v for k, v in step.items() if k not in _STEPPING | {mask, positions}}
    outputs = step.get("encoder_outputs")
    told = whole.run(example)[0]
    tensors = {name: v for name, v in rest.items() if isinstance(v, Tensor)} | fields_of(outputs)
    extras = tuple(name for name in tensors if _is_known(name, tensors[name], told, whole))
    return StepArguments(
        extras=extras,
        inputs=tuple(name for name in extras if name in example and whole.generates),
        mask=mask if mask in step and begin.mask else None,
        positions=positions if positions in step and begin.mask else None,
        constants={k: v for k, v in rest.items() if isinstance(v, bool | int | float | str)},
        container=type(outputs),
    )


def _is_known(name: str, value: Tensor, told: Mapping[str, Any], whole: MemoryEncoder) -> bool:
    """Whether the tensor is one that is there before the first token; False if it says nothing."""
    if name in told and told[name].shape == value.shape and torch.equal(told[name], value):
        return True
    if "mask" in name and bool((value == 1).all()):
        return False
    raise ProjectError(
        f"{type(whole.model).__name__}.generate tells its decoder something that mmedge "
        "does not know where to take from",
        found=f"{name}: {str(value.dtype)[6:]}{list(value.shape)}",
        expected=f"one of {', '.join(told)}",
        hint="this architecture needs a recipe of its own",
    )
