"""Which checkpoints have a decoder with cross-attention, and how recipe and options fit them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from typing import Any

import msgspec
import torch
from torch import Tensor

from mmedge.optional import require
from mmedge.project import InputTable
from mmedge.recipes import CheckpointView, Proposal
from mmedge_export.huggingface.inputs import axes_of, forward_names, modality_of, tables_of
from mmedge_export.huggingface.tried_forward import complaint

MASK, TEXT, DECODER = "attention_mask", "input_ids", "decoder_input_ids"
VISION = "vision_encoder"
# Whisper without a language listens for it, sample by sample; a graph begins as it is told.
LANGUAGE, TASK = "en", "transcribe"


def proposal(view: CheckpointView) -> Proposal | str:
    """The project for the checkpoint, or why it is not of this family."""
    kind = view.model_class
    if not issubclass(kind, require("transformers.generation").GenerationMixin):
        return "it does not generate text"
    reason = _reason(view)
    if reason is None:
        return "its decoder has no cross-attention to an encoder"
    inputs, _ = tables_of(view, generate_names(kind))
    if not inputs:
        return "no sample of its inputs is known"
    inputs = _with_own_mask(inputs, view)
    options: dict[str, Any] = {}
    inputs, left_out = _without_beginning(inputs, view)
    if complains := _complaint(view, inputs):
        return f"its forward does not take {', '.join(inputs)} ({complains})"
    reasons = [reason, "its cross-attention's keys and values are computed once, by encoder_model"]
    if left_out:
        reasons.append(
            "a text that the answer may begin with is left out: "
            f"declare {' and '.join(left_out)} in [inputs] to give one"
        )
    if place := _vision_place(view, inputs):
        options["encoders"] = {VISION: place}
        reasons.append(f"{VISION} ends at {place}: one image serves many questions")
    if settings := _whisper_settings(view):
        options["generate"] = settings
        reasons.append(
            f"generation_config.json leaves the language open: {settings['language']} is taken, "
            "change it in [recipe] generate"
        )
    return Proposal("encoder-decoder", inputs, axes_of(view, inputs), options, tuple(reasons))


def generate_names(kind: type[Any]) -> set[str]:
    """Names of the inputs of `generate`, which are forward's where it is transformers' own."""
    mixin = require("transformers.generation").GenerationMixin
    if kind.generate is mixin.generate:
        return forward_names(kind)
    return set(inspect.signature(kind.generate).parameters)


def _complaint(view: CheckpointView, inputs: dict[str, InputTable]) -> str | None:
    """What forward says of the first step; nothing where `generate` is the model's own."""
    names = forward_names(view.model_class)
    if DECODER not in names or generate_names(view.model_class) != names:
        return None
    return complaint(view, inputs, axes_of(view, inputs), prepared=_begun)


def _begun(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """With one token of the answer."""
    first = next(iter(given.values()))
    return {DECODER: first.new_zeros(first.shape[0], 1, dtype=torch.int64), **given}


def _reason(view: CheckpointView) -> str | None:
    name = view.model_class.__name__
    if getattr(view.config, "is_encoder_decoder", False):
        return f"{name} is an encoder-decoder"
    if getattr(view.config.get_text_config(decoder=True), "is_encoder_decoder", False):
        return f"the language model of {name} is an encoder-decoder"
    if path := _cross_decoder(view):
        return f"{name} generates with {path}, which attends to encoder_hidden_states"
    return None


def _cross_decoder(view: CheckpointView) -> str | None:
    """The submodule that generates by looking at an encoder's states, if the model has one."""
    for path, module in _modules(view):
        takes = inspect.signature(type(module).forward).parameters
        if path and hasattr(type(module), "generate") and "encoder_hidden_states" in takes:
            return path
    return None


def _modules(view: CheckpointView) -> Iterable[tuple[str, torch.nn.Module]]:
    """The model's modules, without its weights; only those of models with a `generate` of theirs.

    (A model that generates by itself is known by its config.)
    """
    mixin = require("transformers.generation").GenerationMixin
    if view.model_class.generate is mixin.generate:  # type: ignore[attr-defined]
        return []
    with torch.device("meta"):
        return list(view.model_class(view.config).named_modules())


def _without_beginning(
    inputs: dict[str, InputTable], view: CheckpointView
) -> tuple[dict[str, InputTable], tuple[str, ...]]:
    """The inputs less a text that is not encoded and may be absent; and what was left out.

    (BLIP captions an image; a text only says how the caption begins, and rows of different
    lengths cannot begin so.)
    """
    modules = {path for path, _ in _modules(view) if "." not in path}
    optional = inspect.signature(view.model_class.generate).parameters.get(TEXT)  # type: ignore[attr-defined]
    encoded = not modules or modules & {"text_encoder", "language_projection", "encoder"}
    if encoded or optional is None or optional.default is not None:
        return inputs, ()
    left_out = tuple(name for name in (TEXT, MASK) if name in inputs)
    return {name: table for name, table in inputs.items() if name not in left_out}, left_out


def _vision_place(view: CheckpointView, inputs: dict[str, InputTable]) -> str | None:
    """Where the image's part ends, if a text is encoded together with an image."""
    modalities = {modality_of(name) for name in inputs}
    if TEXT not in inputs or "image" not in modalities:
        return None
    modules = {path: module for path, module in _modules(view) if "." not in path}
    if not modules:
        return "get_image_features" if hasattr(view.model_class, "get_image_features") else None
    # InstructBLIP's query former reads the question too.
    query_reads_text = any(name.startswith("qformer_") for name in inputs)
    if "language_projection" in modules and not query_reads_text:
        return "language_projection"
    return "vision_model" if "vision_model" in modules else None


def _with_own_mask(inputs: dict[str, InputTable], view: CheckpointView) -> dict[str, InputTable]:
    """A mask without a text is about sound or patches: its axes are theirs."""
    if MASK not in inputs or TEXT in inputs:
        return inputs
    for name, table in inputs.items():
        if name != MASK and view.sample[name].shape[:2] == view.sample[MASK].shape:
            own = msgspec.structs.replace(
                inputs[MASK], shape=table.shape[:2], modality=table.modality
            )
            return {**inputs, MASK: own}
    return inputs


def _whisper_settings(view: CheckpointView) -> dict[str, str]:
    """The language and the task, where generation_config.json has several and names none."""
    path = view.directory / "generation_config.json"
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    languages = stored.get("lang_to_id") or {}
    if not stored.get("is_multilingual") or not languages or stored.get("language"):
        return {}
    known = [key.strip("<|>") for key in languages]
    return {"language": LANGUAGE if LANGUAGE in known else known[0], "task": TASK}
