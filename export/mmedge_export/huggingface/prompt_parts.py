"""The components that make a prompt: encoders, the token embedding, the merging of features."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.recipes import ComponentModule, Tensors
from mmedge.strict import nearest
from mmedge_export.huggingface.answering import is_method
from mmedge_export.huggingface.dependence import depends
from mmedge_export.huggingface.feature_encoder import FeatureEncoder, flattened
from mmedge_export.huggingface.inputs import modality_of
from mmedge_export.huggingface.prompt_embedder import DecoderCall, PromptEmbedder
from mmedge_export.huggingface.submodule_encoder import SubmoduleEncoder

EMBED, MERGE = "embed_tokens", "merge_features"
PROMPT, MASK = "input_ids", "attention_mask"


@dataclass(frozen=True)
class Encoder:
    """One modality's encoder: its module, the inputs it takes, what upstream's own returns."""

    name: str
    module: FeatureEncoder | SubmoduleEncoder
    arguments: tuple[str, ...]
    result: Any

    @property
    def modality(self) -> str:
        """Of what it encodes: "image" or "audio"."""
        own = map(modality_of, self.arguments)
        return next((modality for modality in own if modality != "text"), "tensor")

    @property
    def asks(self) -> str:
        """The argument of forward that makes the model encode: a mask or a question does not."""
        own = (name for name in self.arguments if modality_of(name) == self.modality)
        return next(own, self.arguments[0])


def encoder_of(
    model: nn.Module, name: str, method: str, example: Tensors, flat: frozenset[str]
) -> Encoder:
    """The model's own `method`, or submodule, as a component; ProjectError if it takes no input."""
    if not is_method(model, method):
        return _up_to_submodule(model, name, method, example, flat)
    takes = _parameters(model, method)
    arguments = tuple(argument for argument in example if argument in takes)
    if not arguments:
        raise ProjectError(
            f"{type(model).__name__}.{method} takes none of the declared inputs",
            found=", ".join(example),
            expected=", ".join(sorted(takes)),
            where="[recipe] encoders",
        )
    module = FeatureEncoder(model, method, arguments, flat=flat)
    given = flattened({argument: example[argument] for argument in arguments}, flat)
    with torch.no_grad():
        result = getattr(model, method)(**given)
    return Encoder(name, module, arguments, result)


def _up_to_submodule(
    model: nn.Module, name: str, path: str, example: Tensors, flat: frozenset[str]
) -> Encoder:
    paths = [own for own, _ in model.named_modules() if own]
    if path not in paths:
        raise ProjectError(
            f"{type(model).__name__} has neither a method nor a submodule {path!r}",
            where="[recipe] encoders",
            hint=nearest(path, paths),
        )
    whole = SubmoduleEncoder(model, path, tuple(example), blanks={}, flat=flat)
    arguments = tuple(
        argument
        for argument in example
        if depends(lambda inputs: [whole(*inputs.values())], example, argument)
    )
    blanks = {other: value for other, value in example.items() if other not in arguments}
    module = SubmoduleEncoder(model, path, arguments, blanks=blanks, flat=flat)
    with torch.no_grad():
        return Encoder(name, module, arguments, whole.result(example))


def _parameters(model: Any, method: str) -> set[str]:
    """What the method takes; the model's own hands what it does not name to the one within."""
    inner = getattr(model, model.base_model_prefix, model)
    holders = (holder for holder in (model, inner) if hasattr(holder, method))
    return {name for h in holders for name in inspect.signature(getattr(h, method)).parameters}


def encoding(encoder: Encoder) -> ComponentModule:
    """The encoder as a component."""
    modality = encoder.modality
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


def embedding(model: nn.Module) -> ComponentModule:
    """The token embedding as a component."""
    return ComponentModule(
        EMBED, _Embedding(model), {PROMPT: PROMPT}, ("inputs_embeds",), "text", "model."
    )


def merging(
    model: nn.Module,
    call: DecoderCall,
    encoders: list[Encoder],
    example: Tensors,
    flat: frozenset[str],
) -> ComponentModule:
    """What is left of forward once embeddings and features are given."""
    dummies = {encoder.module.method: encoder.asks for encoder in encoders}
    arguments = tuple(name for name in example if name not in dummies.values())
    blanks = {
        encoder.asks: example[encoder.asks]
        for encoder in encoders
        if isinstance(encoder.module, SubmoduleEncoder)
    }
    results = _results(call, model)
    module = PromptEmbedder(
        model,
        call,
        arguments=arguments,
        results=results,
        features={encoder.module.method: encoder.result for encoder in encoders},
        dummies=dummies,
        blanks=blanks,
        flat=flat,
    )
    bindings = {name: name for name in arguments}
    bindings["inputs_embeds"] = f"{EMBED}.inputs_embeds"
    for encoder in encoders:
        (output,) = encoding(encoder).outputs
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
    positions = call.arguments.get("position_ids")
    return ("inputs_embeds", *(("position_ids",) if has_axes(positions) else ()))


def has_axes(positions: Tensor | None) -> bool:
    """Whether positions are more than the tokens' numbers: [axes, batch, length]."""
    return positions is not None and positions.ndim == 3


def check_all_taken(model: nn.Module, call: DecoderCall | None, example: Tensors) -> None:
    """Raise ProjectError where images or sounds would be left out without a word.

    call: how the model calls its decoder, once its encoders have run.
    """
    others = [name for name in example if modality_of(name) in ("image", "audio")]
    if others and call is None:
        raise ProjectError(
            f"{type(model).__name__} does not put images or sounds among the prompt's embeddings",
            found=", ".join(others),
            expected="get_image_features or get_audio_features, whose features a decoder takes",
            hint="this architecture needs a recipe of its own",
        )
