"""Recipe `hf_sequence_to_sequence`: encoders, and a decoder that attends to what they made.

The components, named as Optimum and transformers.js name them:

    vision_encoder          where one is cut out: an image -> features, kept for many questions
    encoder_model           inputs -> keys and values of every cross-attention, computed once
    decoder_prompt          where the decoder continues a text: the text -> its ids
    decoder_model_merged    ids, the past and the encoder's keys and values -> logits, present

What happens before the first token is the model's own `generate` and forward (`MemoryEncoder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec
import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.project import Project
from mmedge.recipes import CheckpointView, ComponentModule, Proposal, Split, Tensors
from mmedge.strict import decode
from mmedge_export.huggingface.cache_tensors import cache_names
from mmedge_export.huggingface.cross_generation import (
    cross_generation,
    self_attention,
    step_example,
)
from mmedge_export.huggingface.cross_memory import STATES, MemoryEncoder
from mmedge_export.huggingface.cross_step import CrossStep
from mmedge_export.huggingface.decoder_beginning import beginning
from mmedge_export.huggingface.dependence import depends
from mmedge_export.huggingface.longer_text import longer_text
from mmedge_export.huggingface.part import Part, PartEncoder
from mmedge_export.huggingface.recording import Recording, record_generate, tokens_of
from mmedge_export.huggingface.sequence_proposal import proposal
from mmedge_export.huggingface.step_arguments import StepArguments, step_arguments
from mmedge_export.huggingface.transformers_aid import transformers_aid

ENCODER, DECODER = "encoder_model", "decoder_model_merged"
# Steps that are recorded: the prompt, and one that continues it.
RECORDED = 2
IDS = "input_ids"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Keys of `[recipe]`.

    encoders: component name -> the submodule or the method whose result is kept on its own.
    generate: further arguments of the model's `generate` (Whisper: language, task).
    max_new_tokens: the longest answer; by default what generation_config.json says.
    """

    encoders: dict[str, str] = {}
    generate: dict[str, bool | int | float | str] = {}
    max_new_tokens: int | None = None


class SequenceToSequence:
    """Encoders and a decoder with cross-attention."""

    def propose(self, view: CheckpointView) -> Proposal | str:
        """A class that generates with a decoder that attends to an encoder."""
        found = proposal(view)
        if isinstance(found, str):
            return found
        cut = tuple(found.options.get("encoders", {}))
        return replace(found, components=(*cut, ENCODER, DECODER))

    def split(
        self, model: nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """The encoders, the prompt where there is one, and the decoder."""
        chosen = decode(options, Options, where="[recipe]")
        recording = record_generate(
            model, example, max_new_tokens=RECORDED, settings=chosen.generate
        )
        start = recording.prompt[:1, :1]
        whole = MemoryEncoder(model, recording.generator, tuple(example), start=start)
        encoders = [_encoder(whole, *item, example) for item in chosen.encoders.items()]
        begin = beginning(whole, recording, example)
        told = step_arguments(whole, recording, begin, example)
        memory = _memory(whole, told, encoders, example)
        decoder = _decoder(recording, told, memory)
        values = {**example, **memory.values}
        bound = [values[source] for source in decoder.bindings.values()]
        step = cast(CrossStep, decoder.module)
        batch = next(iter(project.file.inputs.values())).shape[0]
        specs, examples = step_example(step, bound, recording, batch)
        generation = cross_generation(
            DECODER, step, recording, begin, model=model, max_new_tokens=chosen.max_new_tokens
        )
        if generation.rules.encoder_repetition_penalty != 1.0 and IDS in example:
            generation = msgspec.structs.replace(generation, encoder_ids=IDS)
        parts = (*(part.component for part in encoders), memory.component, begin.component)
        return Split(
            components=(*(part for part in parts if part is not None), decoder),
            outputs={"tokens": f"{DECODER}.tokens"},
            reference=tokens_of(
                model, max_new_tokens=generation.compared_tokens, settings=chosen.generate
            ),
            generation=generation,
            decoder_inputs=specs,
            decoder_examples=examples,
            resize=longer_text(project),
            aid=transformers_aid(model),
        )


@dataclass(frozen=True)
class Made:
    """A component, and the value of each of its outputs on the example.

    part: what it cuts out of the model, if it is one.
    """

    component: ComponentModule
    values: dict[str, Tensor]
    part: Part | None = None


def _made(component: ComponentModule, given: Tensors, part: Part | None = None) -> Made:
    with torch.no_grad():
        result = component.module(*(given[source] for source in component.bindings.values()))
    tensors = (result,) if isinstance(result, Tensor) else result
    sources = (f"{component.name}.{name}" for name in component.outputs)
    return Made(component, dict(zip(sources, tensors, strict=True)), part)


def _encoder(whole: MemoryEncoder, name: str, place: str, example: Tensors) -> Made:
    """A part of the model as a component of its own, with the inputs it depends on."""
    part = Part(whole.model, place)
    alone = PartEncoder(whole, part, tuple(example))
    with torch.no_grad():
        part.like = alone.result(example)
    arguments = _behind(alone, example, tuple(example))
    if not arguments:
        raise ProjectError(
            f"{place!r} depends on no input", found=", ".join(example), where="[recipe] encoders"
        )
    blanks = {given: example[given] for given in example if given not in arguments}
    module = PartEncoder(whole, part, arguments, blanks=blanks)
    bindings = {given: given for given in arguments}
    component = ComponentModule(name, module, bindings, ("features",), prefix="model.")
    return _made(component, example, part)


def _behind(module: nn.Module, example: Tensors, names: tuple[str, ...]) -> tuple[str, ...]:
    """Which of `names` the module depends on; it is called with all of `example`, in order."""

    def compute(inputs: Tensors) -> tuple[Tensor, ...]:
        made = module(*inputs.values())
        return (made,) if isinstance(made, Tensor) else made

    return tuple(name for name in names if depends(compute, example, name))


def _memory(
    whole: MemoryEncoder, told: StepArguments, encoders: list[Made], example: Tensors
) -> Made:
    """The component that makes what the decoder attends to."""
    cuts = tuple(encoder.part for encoder in encoders if encoder.part is not None)
    features = {name: value for encoder in encoders for name, value in encoder.values.items()}

    def module(arguments: tuple[str, ...]) -> MemoryEncoder:
        blanks = {name: example[name] for name in example if name not in arguments}
        return MemoryEncoder(
            whole.model,
            whole.generator,
            arguments,
            start=whole.start,
            cuts=cuts,
            blanks=blanks,
            extras=told.made,
        )

    looked_at = {name for encoder in encoders for name in encoder.component.bindings}
    every = tuple(example)
    still = _behind(module(every), {**example, **features}, tuple(looked_at))
    arguments = tuple(name for name in every if name not in looked_at or name in still)
    bindings = {name: name for name in arguments}
    bindings |= {source.replace(".", "_"): source for source in features}
    final = module(arguments)
    with torch.no_grad():
        made = final(*({**example, **features}[source] for source in bindings.values()))
    names = _memory_names(made[: len(made) - len(told.made)])
    outputs = (*names, *map(_as_encoders, told.made))
    component = ComponentModule(ENCODER, final, bindings, outputs, prefix="model.")
    return _made(component, {**example, **features})


def _memory_names(memory: Sequence[Tensor]) -> list[str]:
    """As Optimum names them."""
    if memory[0].ndim == 3:
        return [STATES]
    return cache_names(len(memory) // 2, side="encoder", stem="present")


def _as_encoders(name: str) -> str:
    """An encoder's mask is called so where a decoder takes it."""
    return "encoder_attention_mask" if name == "attention_mask" else name.replace(".", "_")


def _decoder(recording: Recording, told: StepArguments, memory: Made) -> ComponentModule:
    """One step: bound to the memory, then to the extras."""
    extras = {
        _as_encoders(name): name if name in told.inputs else f"{ENCODER}.{_as_encoders(name)}"
        for name in told.extras
    }
    attended = [name for name in memory.component.outputs if name not in extras]
    layers = 0 if attended == [STATES] else len(attended) // 2
    takes = cache_names(layers, side="encoder") if layers else [STATES]
    sources = (f"{ENCODER}.{name}" for name in attended)
    own = len(self_attention(recording)) // 2
    return ComponentModule(
        name=DECODER,
        module=CrossStep(recording.generator, layers=layers, width=_width(recording), told=told),
        bindings=dict(zip(takes, sources, strict=True)) | extras,
        outputs=("logits", *cache_names(own, side="decoder", stem="present")),
        modality="text",
        prefix="model.",
    )


def _width(recording: Recording) -> int:
    """Of the states that the decoder is given."""
    step = recording.steps[-1]
    states = step.get(STATES)
    if states is None:
        states = step["encoder_outputs"][0]
    return int(states.shape[-1])


recipe = SequenceToSequence()
