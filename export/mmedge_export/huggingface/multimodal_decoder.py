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

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor, nn

from mmedge.project import Project
from mmedge.recipes import CheckpointView, ComponentModule, Proposal, Split, Tensors
from mmedge.strict import decode
from mmedge.tensors import Axis
from mmedge.wiring import Generation
from mmedge_export.huggingface.cache_tensors import cache_names
from mmedge_export.huggingface.decoder_example import decoder_example, recorded_cache
from mmedge_export.huggingface.decoder_part import DECODER, causal_step, generation_of
from mmedge_export.huggingface.feature_encoder import GRIDS, flattened
from mmedge_export.huggingface.fewer_places import fewer_places
from mmedge_export.huggingface.fixed_cache import with_capacity
from mmedge_export.huggingface.inputs import (
    LENGTH,
    forward_names,
    modality_of,
    tables_of,
    unseen_modalities,
)
from mmedge_export.huggingface.longer_text import longer_text
from mmedge_export.huggingface.prompt_embedder import decoder_call
from mmedge_export.huggingface.prompt_parts import (
    EMBED,
    MERGE,
    PROMPT,
    check_all_taken,
    embedding,
    encoder_of,
    encoding,
    merging,
)
from mmedge_export.huggingface.recording import record_generate
from mmedge_export.huggingface.transformers_aid import transformers_aid

# Component -> the method that makes its features, and the modality of its inputs.
ENCODERS = {
    "vision_encoder": ("get_image_features", "image"),
    "audio_encoder": ("get_audio_features", "audio"),
}
# What most models call the module whose result takes the places in the prompt.
PROJECTOR = "multi_modal_projector"
# Tokens of a prompt whose neighbours are compared.
SHORTEST = 3
# Method of the processor -> inputs that upstream takes for all examples in a row.
FLAT = {
    "plain_several": ("pixel_values",),
    "canvas": ("pixel_values",),
    "patches": ("pixel_values", "image_grid_thw"),
    "any_resolution": ("pixel_values", "image_sizes"),
    "own_size": ("pixel_values", "image_sizes"),
}
# Steps that are recorded: the prompt, and one that continues it.
RECORDED = 2


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Keys of `[recipe]`.

    encoders: component name -> the model's method, or submodule, that makes its features.
    flat: inputs that upstream takes without a batch axis; here [batch, images, ...].
    max_new_tokens: the longest answer; by default what generation_config.json says.
    capacity: for how many tokens the cache has room; without it, the cache grows.
    """

    encoders: dict[str, str] = {}
    flat: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    capacity: Annotated[int, msgspec.Meta(ge=1)] | None = None


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
        unseen = unseen_modalities(view, inputs)
        if unseen:
            return f"no sample of its {' and '.join(unseen)} is known"
        encoders = _encoders(view, inputs)
        options: dict[str, Any] = {"encoders": encoders} if encoders else {}
        image: Any = view.processor.get("image") or {}
        rows = (*FLAT.get(str(image.get("method")), ()), *view.flat)
        flat = [name for name in inputs if name in rows]
        if flat:
            options["flat"] = flat
        axes |= _patch_axis(view, inputs, axes) | _neighbours(axes, encoders)
        reasons = [f"{kind.__name__} generates with a decoder-only language model"]
        reasons += [f"{name} is {kind.__name__}.{place}" for name, place in encoders.items()]
        reasons.append(f"one graph, {DECODER}, for the prompt and for each token after it")
        parts = (*encoders, EMBED, *((MERGE,) if encoders else ()), DECODER)
        return Proposal(
            "multimodal decoder", inputs, axes, options, tuple(reasons), components=parts
        )

    def split(
        self, model: nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """Encoders, embedding, merging of features and the decoder."""
        chosen = decode(options, Options, where="[recipe]")
        flat = frozenset(chosen.flat)
        encoders = [encoder_of(model, *item, example, flat) for item in chosen.encoders.items()]
        upstream = flattened(example, flat)
        recording = record_generate(model, upstream, max_new_tokens=RECORDED)
        answers = {encoder.module.method: encoder.result for encoder in encoders}
        call = decoder_call(model, upstream, answers) if encoders else None
        check_all_taken(model, call, example)
        embed = embedding(model)
        components = [*map(encoding, encoders), embed]
        if call is not None:
            components.append(merging(model, call, encoders, example, flat))
        step, cache = causal_step(model, recording, call, upstream), recorded_cache(recording)
        layers = len(cache) // 2
        outputs = ("logits", *cache_names(layers, stem="present"))
        components.append(ComponentModule(DECODER, step, {}, outputs, "text", "model."))
        longest = chosen.max_new_tokens
        generation = generation_of(
            model, recording, step, call, layers=layers, max_new_tokens=longest
        )
        specs, examples = decoder_example(step, embed.module, example, cache, recording, call)
        split = Split(
            components=tuple(components),
            outputs={"tokens": f"{DECODER}.tokens"},
            reference=_reference(model, flat, generation),
            generation=generation,
            decoder_inputs=specs,
            decoder_examples=examples,
            resize=fewer_places(longer_text(project), encoders, model),
            aid=transformers_aid(model),
        )
        return split if chosen.capacity is None else with_capacity(split, chosen.capacity)


def _encoders(view: CheckpointView, inputs: Mapping[str, object]) -> dict[str, str]:
    """What makes the features of each modality there is: a method, else the projector."""
    seen = {modality_of(name) for name in inputs}
    wanted = {name: method for name, (method, modality) in ENCODERS.items() if modality in seen}
    found = {name: method for name, method in wanted.items() if hasattr(view.model_class, method)}
    if len(wanted) != 1 or found:
        return found
    with torch.device("meta"):
        paths = [path for path, _ in view.model_class(view.config).named_modules()]
    projectors = [path for path in paths if path.split(".")[-1] == PROJECTOR]
    return dict.fromkeys(wanted, projectors[0]) if projectors else {}


def _neighbours(axes: Mapping[str, Axis], encoders: Mapping[str, str]) -> dict[str, Axis]:
    """A forward of no method for its encoder looks at pairs of tokens: two pairs at least.

    (Qwen2-Audio asks whether places follow one another; torch takes one pair for a constant.)
    """
    given = axes.get(LENGTH)
    if given is None or not any("." in place for place in encoders.values()):
        return {}
    least = max(given.min, SHORTEST)
    return {LENGTH: Axis(least, max(least, given.opt), max(least, given.max), given.step)}


def _patch_axis(
    view: CheckpointView, inputs: Mapping[str, object], axes: Mapping[str, Axis]
) -> dict[str, Axis]:
    """Patches that are merged come in as many as are merged; one feature would be a constant."""
    merge = getattr(getattr(view.config, "vision_config", None), "spatial_merge_size", None)
    if GRIDS not in inputs or "patches" not in axes or not merge:
        return {}
    given, step = axes["patches"], merge**2
    return {"patches": Axis(2 * step, max(2 * step, given.opt), given.max // step * step, step)}


def _reference(
    model: nn.Module, flat: frozenset[str], generation: Generation
) -> Callable[[Tensors], dict[str, Tensor]]:
    def run(inputs: Tensors) -> dict[str, Tensor]:
        upstream = flattened(inputs, flat)
        limit = generation.compared_tokens
        return {"tokens": record_generate(model, upstream, max_new_tokens=limit).tokens}

    return run


recipe = MultimodalDecoder()
