"""Recipe `hf_multimodal_decoder`: encoders, a prompt that holds their features, a causal decoder.

The components, named as transformers.js and Optimum name them:

    vision_encoder, audio_encoder   a modality's tensors -> features [batch, features, hidden]
    embed_tokens                    ids -> embeddings; runs again for every new token
    merge_features                  the prompt's embeddings with features in their places
    decoder_model_merged            embeddings, mask, positions and past -> logits and present

Without other modalities it is a plain causal language model. What happens between the inputs
and the decoder is the model's own forward (`PromptEmbedder`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.project import Project
from mmedge.recipes import CheckpointView, ComponentModule, Proposal, Split, Tensors
from mmedge.strict import decode
from mmedge.tensors import Array, Axis, TensorSpec
from mmedge.wiring import Generation, axis_size, resize_axis
from mmedge_export.huggingface.cache_tensors import cache_names, cache_tensors
from mmedge_export.huggingface.causal_step import CausalStep
from mmedge_export.huggingface.feature_encoder import GRIDS, FeatureEncoder, flattened
from mmedge_export.huggingface.generation_settings import generation_settings
from mmedge_export.huggingface.inputs import forward_names, modality_of, tables_of
from mmedge_export.huggingface.prompt_embedder import DecoderCall, PromptEmbedder, decoder_call
from mmedge_export.huggingface.recording import Recording, record_generate
from mmedge_export.huggingface.transformers_aid import transformers_aid

EMBED, MERGE, DECODER = "embed_tokens", "merge_features", "decoder_model_merged"
PROMPT, MASK = "input_ids", "attention_mask"
# Component -> the method that makes its features, and the modality of its inputs.
ENCODERS = {
    "vision_encoder": ("get_image_features", "image"),
    "audio_encoder": ("get_audio_features", "audio"),
}
# Method of the processor -> inputs that upstream takes for all examples in a row.
FLAT = {
    "plain_several": ("pixel_values",),
    "patches": ("pixel_values", "image_grid_thw"),
    "any_resolution": ("pixel_values", "image_sizes"),
}
# Steps that are recorded: the prompt, and one that continues it.
RECORDED = 2
# New tokens in the example of a decoder call: not 1, which torch.export takes for a constant,
# and not the size of the batch.
NEW_TOKENS = 3


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Keys of `[recipe]`.

    encoders: component name -> the model's method that makes its features.
    flat: inputs that upstream takes without a batch axis; here [batch, images, ...].
    max_new_tokens: the longest answer; by default what generation_config.json says.
    """

    encoders: dict[str, str] = {}
    flat: tuple[str, ...] = ()
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Encoder:
    """One modality's encoder: its module, the inputs it takes, what upstream's own returns."""

    name: str
    module: FeatureEncoder
    arguments: tuple[str, ...]
    result: Any


class MultimodalDecoder:
    """A causal decoder whose prompt may hold images and sounds."""

    def propose(self, view: CheckpointView) -> Proposal | str:
        """A class that generates, with a decoder-only language model that takes embeddings."""
        kind = view.model_class
        if not getattr(kind, "can_generate", bool)():
            return "it does not generate"
        if getattr(view.config.get_text_config(decoder=True), "is_encoder_decoder", False):
            return "its language model is an encoder-decoder"
        names = forward_names(kind)
        inputs, axes = tables_of(view, names)
        if PROMPT not in inputs:
            return "no sample of its text is known"
        encoders = {
            component: method
            for component, (method, modality) in ENCODERS.items()
            if hasattr(kind, method) and any(modality_of(n) == modality for n in inputs)
        }
        options: dict[str, Any] = {"encoders": encoders} if encoders else {}
        image: Any = view.processor.get("image") or {}
        flat = [name for name in FLAT.get(str(image.get("method")), ()) if name in inputs]
        if flat:
            options["flat"] = flat
        axes |= _patch_axis(view, inputs, axes)
        reasons = [f"{kind.__name__} generates with a decoder-only language model"]
        reasons += [f"{name} is {kind.__name__}.{method}" for name, method in encoders.items()]
        reasons.append(f"one graph, {DECODER}, for the prompt and for each token after it")
        return Proposal("multimodal decoder", inputs, axes, options, tuple(reasons))

    def split(
        self, model: nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """Encoders, embedding, merging of features and the decoder."""
        chosen = decode(options, Options, where="[recipe]")
        flat = frozenset(chosen.flat)
        encoders = [_encoder(model, *item, example, flat) for item in chosen.encoders.items()]
        upstream = flattened(example, flat)
        recording = record_generate(model, upstream, max_new_tokens=RECORDED)
        answers = {encoder.module.method: encoder.result for encoder in encoders}
        call = decoder_call(model, upstream, answers) if encoders else None
        components = [_component_of(encoder) for encoder in encoders]
        components.append(_embedding(model))
        if call is not None:
            components.append(_merging(model, call, encoders, example, flat))
        step = _step(recording, call)
        tensors = cache_tensors(_cache(recording))
        layers = len(tensors) // 2
        outputs = ("logits", *cache_names(layers, stem="present"))
        components.append(ComponentModule(DECODER, step, {}, outputs, "text", "model."))
        generation = _generation(model, recording, chosen, step, call, layers)
        specs, examples = _decoder_example(step, components, example, tensors, recording, call)
        return Split(
            components=tuple(components),
            outputs={"tokens": f"{DECODER}.tokens"},
            reference=_reference(model, flat, generation),
            generation=generation,
            decoder_inputs=specs,
            decoder_examples=examples,
            resize=_resize(project, chosen),
            aid=transformers_aid(model),
        )


def _patch_axis(
    view: CheckpointView, inputs: Mapping[str, object], axes: Mapping[str, Axis]
) -> dict[str, Axis]:
    """Patches that are merged come in as many as are merged; one feature would be a constant."""
    merge = getattr(getattr(view.config, "vision_config", None), "spatial_merge_size", None)
    if GRIDS not in inputs or "patches" not in axes or not merge:
        return {}
    given, step = axes["patches"], merge**2
    return {"patches": Axis(2 * step, max(2 * step, given.opt), given.max // step * step, step)}


def _encoder(
    model: nn.Module, name: str, method: str, example: Tensors, flat: frozenset[str]
) -> Encoder:
    takes = inspect.signature(getattr(model, method)).parameters
    arguments = tuple(argument for argument in example if argument in takes)
    if not arguments:
        raise ProjectError(
            f"{type(model).__name__}.{method} takes none of the declared inputs",
            found=", ".join(example),
            expected=", ".join(takes),
            where="[recipe] encoders",
        )
    module = FeatureEncoder(model, method, arguments, flat=flat)
    given = flattened({argument: example[argument] for argument in arguments}, flat)
    with torch.no_grad():
        result = getattr(model, method)(**given)
    return Encoder(name, module, arguments, result)


def _component_of(encoder: Encoder) -> ComponentModule:
    modality = encoder.module.method.split("_")[1]
    return ComponentModule(
        name=encoder.name,
        module=encoder.module,
        bindings={name: name for name in encoder.arguments},
        outputs=(f"{modality}_features",),
        modality=modality,
        prefix="model.",
    )


class _Embedding(nn.Module):
    """The model's own token embedding: ids [batch, length] to [batch, length, hidden]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = False

    def forward(self, input_ids: Tensor) -> Tensor:
        embedded: Tensor = self.model.get_input_embeddings()(input_ids)  # type: ignore[operator]
        return embedded


def _embedding(model: nn.Module) -> ComponentModule:
    return ComponentModule(
        EMBED, _Embedding(model), {PROMPT: PROMPT}, ("inputs_embeds",), "text", "model."
    )


def _merging(
    model: nn.Module,
    call: DecoderCall,
    encoders: list[Encoder],
    example: Tensors,
    flat: frozenset[str],
) -> ComponentModule:
    """What is left of forward once embeddings and features are given."""
    dummies = {encoder.module.method: encoder.arguments[0] for encoder in encoders}
    arguments = tuple(name for name in example if name not in dummies.values())
    results = _results(call, model)
    module = PromptEmbedder(
        model,
        call.path,
        arguments=arguments,
        results=results,
        features={encoder.module.method: encoder.result for encoder in encoders},
        dummies=dummies,
        flat=flat,
    )
    bindings = {name: name for name in arguments}
    bindings["inputs_embeds"] = f"{EMBED}.inputs_embeds"
    for encoder in encoders:
        (output,) = _component_of(encoder).outputs
        bindings[output] = f"{encoder.name}.{output}"
    names = {"inputs_embeds": "merged_embeds"}
    outputs = tuple(names.get(name, name) for name in results)
    return ComponentModule(MERGE, module, bindings, outputs, "multimodal", "model.")


def _results(call: DecoderCall, model: nn.Module) -> tuple[str, ...]:
    """Which of the decoder's arguments the prompt decides, besides the mask."""
    known = {"inputs_embeds", "position_ids", MASK}
    others = [name for name in call.arguments if name not in known]
    if others:
        raise ProjectError(
            f"{type(model).__name__} gives its decoder more than embeddings and positions",
            found=", ".join(others),
            expected="inputs_embeds, attention_mask, position_ids",
            hint="this architecture needs a recipe of its own",
        )
    mask = call.arguments.get(MASK)
    if mask is not None and mask.ndim != 2:
        raise ProjectError(
            f"{type(model).__name__} decides by itself which positions see each other",
            found=f"an attention mask {list(mask.shape)}",
            expected="a padding mask [batch, length] and causal attention",
        )
    return tuple(name for name in ("inputs_embeds", "position_ids") if name in call.arguments)


def _cache(recording: Recording) -> Any:
    return recording.steps[-1]["past_key_values"]


def _step(recording: Recording, call: DecoderCall | None) -> CausalStep:
    takes = inspect.signature(type(recording.generator).forward).parameters
    if "inputs_embeds" not in takes:
        raise ProjectError(
            f"{type(recording.generator).__name__}.forward does not take embeddings",
            expected="an argument inputs_embeds",
        )
    return CausalStep(
        recording.generator,
        "inputs_embeds",
        mask=MASK in takes,
        positions="position_ids" in takes,
    )


def _generation(
    model: nn.Module,
    recording: Recording,
    chosen: Options,
    step: CausalStep,
    call: DecoderCall | None,
    layers: int,
) -> Generation:
    settings = generation_settings(recording, model, max_new_tokens=chosen.max_new_tokens)
    positions = call is not None and "position_ids" in call.arguments
    return Generation(
        decoder=DECODER,
        token_input=step.token_argument,
        logits_output="logits",
        cache=dict(zip(cache_names(layers), cache_names(layers, stem="present"), strict=True)),
        start_token_ids=(),
        end_token_ids=settings.end_token_ids,
        pad_token_id=settings.pad_token_id,
        max_new_tokens=settings.max_new_tokens,
        prompt=PROMPT,
        prompt_mask=MASK,
        prompt_embeddings=None if call is None else f"{MERGE}.merged_embeds",
        embed=EMBED,
        mask_input=MASK if step.mask else None,
        position_input="position_ids" if step.positions else None,
        prompt_positions=f"{MERGE}.position_ids" if positions else None,
        rules=settings.rules,
    )


def _decoder_example(
    step: CausalStep,
    components: list[ComponentModule],
    example: Tensors,
    cache: list[Tensor],
    recording: Recording,
    call: DecoderCall | None,
) -> tuple[tuple[TensorSpec, ...], dict[str, Tensor]]:
    """Specs and an example in mid-sequence: a few new tokens after the recorded past."""
    batch, past = cache[0].shape[0], cache[0].shape[2]
    ids = example[PROMPT][:, -NEW_TOKENS:]
    embedded = step_embedding(components)(ids).detach()
    made: dict[str, tuple[tuple[int | str, ...], Tensor]] = {
        step.token_argument: (("batch", "new", embedded.shape[-1]), embedded)
    }
    if step.mask:
        mask = torch.ones(batch, past + NEW_TOKENS, dtype=torch.int64)
        made[MASK] = (("batch", "total"), mask)
    if step.positions:
        made["position_ids"] = _example_positions(call, recording, batch, past)
    for name, tensor in zip(cache_names(len(cache) // 2), cache, strict=True):
        heads, width = tensor.shape[1], tensor.shape[3]
        made[name] = (("batch", heads, "past", width), tensor.detach().clone().contiguous())
    specs = tuple(
        TensorSpec(name, str(tensor.dtype).removeprefix("torch."), shape)
        for name, (shape, tensor) in made.items()
    )
    return specs, {name: tensor for name, (_, tensor) in made.items()}


def step_embedding(components: list[ComponentModule]) -> nn.Module:
    """The module that embeds token ids."""
    return next(component.module for component in components if component.name == EMBED)


def _example_positions(
    call: DecoderCall | None, recording: Recording, batch: int, past: int
) -> tuple[tuple[int | str, ...], Tensor]:
    """As many axes as the prompt's positions have: `generate` may put others before them."""
    prompt = None if call is None else call.arguments.get("position_ids")
    recorded = recording.steps[-1].get("position_ids") if prompt is None else prompt
    row = torch.arange(past, past + NEW_TOKENS)
    if recorded is not None and recorded.ndim == 3:
        axes = recorded.shape[0]
        return (axes, "batch", "new"), row.expand(axes, batch, -1).contiguous()
    return ("batch", "new"), row.expand(batch, -1).contiguous()


def _reference(
    model: nn.Module, flat: frozenset[str], generation: Generation
) -> Callable[[Tensors], dict[str, Tensor]]:
    def run(inputs: Tensors) -> dict[str, Tensor]:
        upstream = flattened(inputs, flat)
        limit = generation.max_new_tokens
        return {"tokens": record_generate(model, upstream, max_new_tokens=limit).tokens}

    return run


def _resize(
    project: Project, chosen: Options
) -> Callable[[Mapping[str, Array], str, int], dict[str, Array]]:
    """More text is more of its last token: features and their placeholders stay as many."""
    specs = [item.spec for item in project.model_inputs()]

    def resize(inputs: Mapping[str, Array], axis: str, size: int) -> dict[str, Array]:
        if axis != "length":
            return resize_axis(inputs, specs, axis=axis, size=size)
        before = axis_size(inputs, specs, axis)
        resized = dict(inputs)
        for spec in specs:
            for position, name in spec.dynamic_axes.items():
                if name == axis and spec.name in resized:
                    entries = np.minimum(np.arange(size), before - 1)
                    resized[spec.name] = resized[spec.name].take(entries, position)
        return resized

    return resize


recipe = MultimodalDecoder()
