"""What a decoder with cross-attention begins with: the same tokens always, or a text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmedge.errors import ProjectError
from mmedge.recipes import ComponentModule, Tensors
from mmedge_export.huggingface.cross_memory import MemoryEncoder
from mmedge_export.huggingface.decoder_prompt import DecoderPrompt
from mmedge_export.huggingface.dependence import depends
from mmedge_export.huggingface.recording import Recording

PROMPT = "decoder_prompt"
IDS, MASK = "decoder_input_ids", "decoder_attention_mask"


@dataclass(frozen=True)
class Beginning:
    """Start tokens, or the source of a prompt and of its padding mask, and who makes them."""

    start_token_ids: tuple[int, ...] = ()
    prompt: str | None = None
    mask: str | None = None
    component: ComponentModule | None = None


def beginning(whole: MemoryEncoder, recording: Recording, example: Tensors) -> Beginning:
    """Found by looking at what `generate` told the decoder, and what that depends on."""
    if whole.generator is not whole.model:
        return _told(whole, recording, example)
    if IDS not in example:
        return Beginning(start_token_ids=shared(recording))
    if not torch.equal(recording.prompt, example[IDS]):
        raise ProjectError(
            f"{type(whole.model).__name__}.generate puts another token before {IDS}",
            found=f"{recording.prompt[0].tolist()} from {example[IDS][0].tolist()}",
            hint=f"begin {IDS} with that token",
        )
    return Beginning(prompt=IDS, mask=MASK if MASK in example else None)


def _told(whole: MemoryEncoder, recording: Recording, example: Tensors) -> Beginning:
    texts = [name for name, tensor in example.items() if not tensor.is_floating_point()]
    shown = {IDS: "input_ids", MASK: "attention_mask"}
    told = whole.told(example)
    behind = {
        output: [name for name in texts if depends(_teller(whole, result), example, name)]
        for output, result in shown.items()
        if result in told
    }
    if not behind.get(IDS):
        return Beginning(start_token_ids=shared(recording))
    outputs = tuple(output for output, names in behind.items() if names)
    # `generate` itself may look at every input, at the size of a batch if no more.
    module = DecoderPrompt(whole, tuple(example), tuple(shown[output] for output in outputs))
    component = ComponentModule(
        PROMPT, module, {name: name for name in example}, outputs, "text", "model."
    )
    mask = f"{PROMPT}.{MASK}" if MASK in outputs else None
    return Beginning(prompt=f"{PROMPT}.{IDS}", mask=mask, component=component)


def _teller(whole: MemoryEncoder, result: str) -> Callable[[Tensors], list[Tensor]]:
    return lambda inputs: [whole.told(inputs)[result]]


def shared(recording: Recording) -> tuple[int, ...]:
    """The prompt that all samples have in common."""
    if not torch.equal(recording.prompt, recording.prompt[:1].expand_as(recording.prompt)):
        raise ProjectError(
            f"{type(recording.generator).__name__} begins each sample with tokens of its own",
            found=", ".join(str(row.tolist()) for row in recording.prompt[:2]),
            expected="the same tokens for every sample",
            hint='set what decides them: [recipe] generate = { language = "en" }',
        )
    return tuple(recording.prompt[0].tolist())
