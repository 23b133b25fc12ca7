"""Recipe `hf_prefix_decoder`: a causal decoder that reads an image first, and then only text.

GIT puts the image's features before the text, in the decoder itself; they see each other and no
text, so that their keys and values depend on the image alone:

    vision_encoder          image -> keys and values of every layer, computed once for it
    decoder_model_merged    ids, mask, positions, those keys and values and the past -> logits

The image is not part of the cache that grows: mask and positions are those of the text.
Upstream (transformers 5.23): GitModel.forward.
"""

from __future__ import annotations

from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.project import Project
from mmedge.recipes import CheckpointView, ComponentModule, Proposal, Split, Tensors
from mmedge.strict import decode
from mmedge_export.huggingface.cache_tensors import cache_names, cache_tensors, growing_cache
from mmedge_export.huggingface.cross_generation import cross_generation, step_example
from mmedge_export.huggingface.decoder_beginning import Beginning, shared
from mmedge_export.huggingface.inputs import forward_names, tables_of
from mmedge_export.huggingface.longer_text import longer_text
from mmedge_export.huggingface.recording import Recording, record_generate, tokens_of
from mmedge_export.huggingface.transformers_aid import transformers_aid

VISION, DECODER = "vision_encoder", "decoder_model_merged"
IMAGE, IDS, MASK, POSITIONS = "pixel_values", "input_ids", "attention_mask", "position_ids"
# Steps that are recorded: the prompt, and one that continues it.
RECORDED = 2


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Keys of `[recipe]`.

    max_new_tokens: the longest answer; by default what generation_config.json says.
    """

    max_new_tokens: int | None = None


class PrefixEncoder(nn.Module):
    """An image to each layer's key and value of its features [batch, heads, features, head_dim].

    start: a token int64 [1, 1] that the decoder reads after the image; it is dropped again.
    """

    def __init__(self, model: Any, start: Tensor) -> None:
        super().__init__()
        self.model = model
        self.start = start
        self.training = False

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says."""
        ids = self.start.expand(pixel_values.shape[0], -1)
        result = self.model(input_ids=ids, pixel_values=pixel_values, use_cache=True)
        return tuple(tensor[:, :, :-1] for tensor in cache_tensors(result.past_key_values))


class PrefixStep(nn.Module):
    """New tokens, what came before them and the image, to the last logits and the present.

    Called with each layer's key and value of the image, the ids [batch, new], the mask of the
    text int64 [batch, past + new] where there is one, the positions in the text [batch, new],
    then each layer's past key and value [batch, heads, past, head_dim] of the text. Returns
    logits [batch, 1, vocabulary] of the last position, then each layer's present, of the text.
    """

    def __init__(self, model: Any, *, layers: int, mask: bool) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.places: tuple[str, ...] = (MASK, POSITIONS) if mask else (POSITIONS,)
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says."""
        prefix, rest = tensors[: 2 * self.layers], tensors[2 * self.layers :]
        told = dict(zip((IDS, *self.places), rest, strict=False))
        past = rest[len(told) :]
        before = [torch.cat(pair, dim=2) for pair in zip(prefix, past, strict=True)]
        result = self.model(
            **told, past_key_values=growing_cache(before), use_cache=True, logits_to_keep=1
        )
        length = prefix[0].shape[2]
        present = (tensor[:, :, length:] for tensor in cache_tensors(result.past_key_values))
        return (result.logits[:, -1:], *present)


class PrefixDecoder:
    """An image that is read once, and a text that goes on."""

    def propose(self, view: CheckpointView) -> Proposal | str:
        """GIT."""
        if getattr(view.config, "model_type", None) != "git":
            return "its image is not a prefix of the decoder's own cache (GIT)"
        if not getattr(view.model_class, "can_generate", bool)():
            return "it does not generate"
        inputs, axes = tables_of(view, forward_names(view.model_class))
        if IMAGE not in inputs:
            return "no sample of its image is known"
        reasons = (
            f"{view.model_class.__name__} reads the image before the text, in one decoder",
            f"{VISION} makes the image's keys and values: one image serves many questions",
        )
        parts = (VISION, DECODER)
        return Proposal("prefix decoder", inputs, axes, {}, reasons, components=parts)

    def split(
        self, model: nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """The image's keys and values, and the decoder."""
        chosen = decode(options, Options, where="[recipe]")
        recording = record_generate(model, example, max_new_tokens=RECORDED)
        begin = _begin(recording, example)
        vision = _vision(model, recording)
        with torch.no_grad():
            prefix = vision.module(example[IMAGE])
        step = PrefixStep(model, layers=len(prefix) // 2, mask=begin.mask is not None)
        decoder = _decoder(step, vision)
        batch = next(iter(project.file.inputs.values())).shape[0]
        specs, examples = step_example(step, prefix, recording, batch)
        generation = cross_generation(
            DECODER, step, recording, begin, model=model, max_new_tokens=chosen.max_new_tokens
        )
        return Split(
            components=(vision, decoder),
            outputs={"tokens": f"{DECODER}.tokens"},
            reference=tokens_of(model, max_new_tokens=generation.compared_tokens),
            generation=generation,
            decoder_inputs=specs,
            decoder_examples=examples,
            resize=longer_text(project),
            aid=transformers_aid(model),
        )


def _begin(recording: Recording, example: Tensors) -> Beginning:
    if IMAGE not in example:
        raise ProjectError("the model reads an image first", expected=f"an input {IMAGE!r}")
    if IDS not in example:
        return Beginning(start_token_ids=shared(recording))
    return Beginning(prompt=IDS, mask=MASK if MASK in example else None)


def _vision(model: nn.Module, recording: Recording) -> ComponentModule:
    layers = len(recording.steps[-1]["past_key_values"].layers)
    return ComponentModule(
        name=VISION,
        module=PrefixEncoder(model, recording.prompt[:1, -1:]),
        bindings={IMAGE: IMAGE},
        outputs=tuple(cache_names(layers, side="prefix", stem="present")),
        modality="image",
        prefix="model.",
    )


def _decoder(step: PrefixStep, vision: ComponentModule) -> ComponentModule:
    takes = cache_names(step.layers, side="prefix")
    bindings = {name: f"{VISION}.{own}" for name, own in zip(takes, vision.outputs, strict=True)}
    present = cache_names(step.layers, side="decoder", stem="present")
    return ComponentModule(DECODER, step, bindings, ("logits", *present), "text", "model.")


recipe = PrefixDecoder()
