"""The text with images and sounds in their places: the model's forward up to its decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.optional import require
from mmedge_export.huggingface.answering import answering
from mmedge_export.huggingface.cross_memory import blanks_of
from mmedge_export.huggingface.feature_encoder import as_upstream, flattened
from mmedge_export.huggingface.own_body import embeddings_of, own_body, without_layers
from mmedge_export.huggingface.substitutes import substituted
from mmedge_export.huggingface.uncut_features import uncut_features
from mmedge_export.huggingface.without_checks import without_checks
from mmedge_export.replaced_forward import replaced_forward

EMBEDS = "inputs_embeds"


@dataclass(frozen=True)
class DecoderCall:
    """How the model's forward calls its decoder with a prompt.

    path: the decoder, as a dotted path.
    arguments: the keyword arguments that are tensors.
    own: it is the model's own body, which makes its embeddings by itself.
    """

    path: str
    arguments: dict[str, Tensor]
    own: bool = False


def decoder_call(
    model: nn.Module, inputs: Mapping[str, Any], features: Mapping[str, Any]
) -> DecoderCall | None:
    """The first call of a submodule with embeddings, in `model(**inputs)`, else of its own body.

    None where neither takes them.

    features: method or submodule -> what it returned. It is not called again: encoders take
        embeddings too.
    """
    found: list[DecoderCall] = []
    with ExitStack() as stack:
        for place, result in features.items():
            stack.enter_context(answering(model, place, result))
        for path, module in model.named_modules():
            if path:
                stack.enter_context(_watched(module, path, found))
        with torch.no_grad():
            model(**inputs)
        if found:
            return found[0]
        path = own_body(model) if features else None
        embedded = None if path is None else embeddings_of(model, path, inputs)
        return None if embedded is None else DecoderCall(str(path), {EMBEDS: embedded}, own=True)


@contextmanager
def _watched(module: nn.Module, path: str, into: list[DecoderCall]) -> Iterator[None]:
    def note(_module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        if isinstance(kwargs.get("inputs_embeds"), Tensor) and not into:
            tensors = {k: v.clone() for k, v in kwargs.items() if isinstance(v, Tensor)}
            into.append(DecoderCall(path, tensors))

    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class PromptEmbedder(nn.Module):
    """Prompt ids, their embeddings and all features to what the decoder is called with.

    Called with the model's inputs named `arguments`, then the embedded ids [batch, length,
    hidden], then the features of each of `features`. Returns the decoder's arguments `results`.
    Whatever the model does in between is the model's own code.

    features: method or submodule -> what upstream's own returned, for its container's type.
    dummies: the same -> the argument of forward that makes it call that; it is not looked at.
    blanks: an example of those arguments of which at least the shape is.
    """

    def __init__(
        self,
        model: nn.Module,
        call: DecoderCall,
        *,
        arguments: tuple[str, ...],
        results: tuple[str, ...],
        features: Mapping[str, Any],
        dummies: Mapping[str, str],
        blanks: Mapping[str, Tensor],
        flat: frozenset[str],
    ) -> None:
        super().__init__()
        self.model = model
        self.call = call
        self.arguments = arguments
        self.results = results
        self.features = dict(features)
        self.dummies = dict(dummies)
        self.blanks = dict(blanks)
        self.flat = flat
        self.training = False

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors as the class says."""
        count = len(self.arguments)
        named = dict(zip(self.arguments, tensors[:count], strict=True))
        embedded, *features = tensors[count:]
        given = flattened(named | blanks_of(self.blanks, embedded.shape[0]), self.flat)
        with ExitStack() as stack:
            # Sizes are probed one at a time: a text need not fit the number of images then.
            stack.enter_context(without_checks())
            stack.enter_context(substituted(self.model))
            stack.enter_context(_answering_embedding(self.model, embedded))
            for (place, like), value in zip(self.features.items(), features, strict=True):
                answer = as_upstream(value, like)
                stack.enter_context(answering(self.model, place, answer))
                given.setdefault(self.dummies[place], value)
            if self.blanks:  # forward itself chooses among the features
                stack.enter_context(uncut_features())
            reached = stack.enter_context(_noting(self.model, self.call))
            self.model(**given)
        missing = [name for name in self.results if not isinstance(reached.get(name), Tensor)]
        if missing:
            raise ProjectError(
                f"{type(self.model).__name__} does not call its decoder with {missing[0]!r}"
            )
        return tuple(reached[name] for name in self.results)


@contextmanager
def _noting(model: nn.Module, call: DecoderCall) -> Iterator[dict[str, Any]]:
    """While active, what the decoder is called with is noted, and it does nothing."""
    module = model.get_submodule(call.path)
    if call.own:
        with without_layers(module) as entered:
            yield entered
        return
    reached: dict[str, Any] = {}
    with replaced_forward(module, _stop(reached)):
        yield reached


def _stop(reached: dict[str, Any]) -> Callable[..., Any]:
    """A decoder that notes how it was called and returns at once, so that forward ends."""
    outputs = require("transformers.modeling_outputs")

    def answer(*_args: Any, **kwargs: Any) -> Any:
        reached.update(kwargs)
        return outputs.BaseModelOutputWithPast(last_hidden_state=kwargs["inputs_embeds"])

    return answer


@contextmanager
def _answering_embedding(model: nn.Module, embedded: Tensor) -> Iterator[None]:
    """The model's token embedding answers with `embedded`."""
    embedding = model.get_input_embeddings()  # type: ignore[operator]
    with replaced_forward(embedding, lambda *_args, **_kwargs: embedded):
        yield
