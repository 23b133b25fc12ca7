"""Recipe `hf_dual_encoder`: two towers and a similarity (CLIP, SigLIP, CLAP, ALIGN ...).

    vision_model, audio_model   pixels or sound -> normalised embeddings [batch, dim]
    text_model                  texts -> normalised embeddings [text_batch, dim]
    similarity                  both embeddings -> the logits of every pair

Images and texts are batches of their own: one image is compared with many texts, and embeddings
that were computed once are used again. A tower is the model's own forward, of which everything
the embedding does not need is dead code. The similarity is forward too, with the towers answered
by embeddings that are already normalised (to normalise twice changes nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.optional import require
from mmedge.project import Project
from mmedge.recipes import CheckpointView, ComponentModule, Proposal, Split, Tensors
from mmedge.strict import decode
from mmedge_export.huggingface.answering import answering_method
from mmedge_export.huggingface.inputs import (
    axes_of,
    forward_names,
    modality_of,
    output_fields,
    tables_of,
    texts_apart,
)
from mmedge_export.huggingface.single_pass import results_of
from mmedge_export.huggingface.transformers_aid import transformers_aid
from mmedge_export.huggingface.tried_forward import complaint
from mmedge_export.replaced_forward import replaced_forward

SIMILARITY = "similarity"
# To normalise what is normalised moves an embedding by its rounding.
ROUNDING = 1e-4


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`[recipe]` has no further keys."""


@dataclass(frozen=True)
class Tower:
    """One side: its component, its embedding's name, and where forward can be answered with it."""

    component: str
    modality: str
    embedding: str
    method: str
    modules: tuple[str, ...]


TOWERS = (
    Tower(
        "vision_model",
        "image",
        "image_embeds",
        "get_image_features",
        ("visual_projection", "image_projection", "vision_model"),
    ),
    Tower("audio_model", "audio", "audio_embeds", "get_audio_features", ("audio_projection",)),
    Tower(
        "text_model", "text", "text_embeds", "get_text_features", ("text_projection", "text_model")
    ),
)


class _TowerForward(nn.Module):
    """The embedding of one tower: forward with a fixed example for the other."""

    def __init__(
        self, model: nn.Module, arguments: tuple[str, ...], fixed: Tensors, embedding: str
    ) -> None:
        super().__init__()
        self.model = model
        self.arguments = arguments
        self.fixed = {name: tensor.clone() for name, tensor in fixed.items()}
        self.embedding = embedding
        self.training = False

    def forward(self, *tensors: Tensor) -> Tensor:
        """The tower's tensors to its normalised embedding."""
        given = dict(zip(self.arguments, tensors, strict=True))
        embedded: Tensor = self.model(**given, **self.fixed)[self.embedding]
        return embedded


class _Similarity(nn.Module):
    """What forward makes of two embeddings.

    answers: for each tower, how forward is answered with its embedding.
    """

    def __init__(
        self,
        model: nn.Module,
        fixed: Tensors,
        answers: tuple[Answer, ...],
        results: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.model = model
        self.fixed = {name: tensor.clone() for name, tensor in fixed.items()}
        self.answers = answers
        self.results = results
        self.training = False

    def forward(self, *embeddings: Tensor) -> tuple[Tensor, ...]:
        """One embedding for each tower to the results."""
        first, second = self.answers
        with first(self.model, embeddings[0]), second(self.model, embeddings[1]):
            output = results_of(self.model(**self.fixed))
        return tuple(output[name] for name in self.results)


Answer = Callable[[nn.Module, Tensor], AbstractContextManager[None]]


class DualEncoder:
    """Two towers whose embeddings are compared."""

    def propose(self, view: CheckpointView) -> Proposal | str:
        """A class with `get_text_features` and one more, whose forward does not generate."""
        has = [tower for tower in TOWERS if hasattr(view.model_class, tower.method)]
        if len(has) != 2 or getattr(view.model_class, "can_generate", bool)():
            return "it has not exactly two towers (get_text_features and one other)"
        embeddings = {tower.embedding for tower in has}
        if not embeddings <= output_fields(view.model_class):
            return f"its forward does not return {' and '.join(sorted(embeddings))}"
        inputs, _ = tables_of(view, forward_names(view.model_class))
        missing = [t.modality for t in has if not _of(inputs, t.modality)]
        if missing:
            return f"no sample of its {' and '.join(missing)} input is known"
        inputs = texts_apart(inputs)
        axes = axes_of(view, inputs)
        if complains := complaint(view, inputs, axes):
            return f"its forward does not take {', '.join(inputs)} ({complains})"
        first, second = has
        reasons = (
            f"{view.model_class.__name__} has {first.method} and {second.method}",
            f"{first.component} and {second.component} are graphs of their own: "
            "one embedding serves many comparisons",
        )
        parts = (first.component, second.component, SIMILARITY)
        return Proposal("dual encoder", inputs, axes, {}, reasons, components=parts)

    def split(
        self, model: nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """A component for each tower, and the similarity."""
        decode(options, Options, where="[recipe]")
        towers = [tower for tower in TOWERS if hasattr(type(model), tower.method)]
        with torch.no_grad():
            results = results_of(model(**example))
        embeddings = {tower.embedding for tower in towers}
        compared = tuple(name for name in results if name not in embeddings)
        components = [_tower(model, tower, example) for tower in towers]
        answers = tuple(_answer(model, tower, example, results) for tower in towers)
        similarity = _Similarity(model, example, answers, compared)
        bindings = {t.embedding: f"{t.component}.{t.embedding}" for t in towers}
        components.append(
            ComponentModule(SIMILARITY, similarity, bindings, compared, "multimodal", "model.")
        )
        outputs = {name: f"{SIMILARITY}.{name}" for name in compared} | bindings
        return Split(
            components=tuple(components),
            outputs=outputs,
            reference=lambda inputs: _reference(model, inputs, tuple(outputs)),
            aid=transformers_aid(model),
        )


def _of(names: Any, modality: str) -> list[str]:
    return [name for name in names if modality_of(name) == modality]


def _tower(model: nn.Module, tower: Tower, example: Tensors) -> ComponentModule:
    own = tuple(_of(example, tower.modality))
    fixed = {name: tensor for name, tensor in example.items() if name not in own}
    module = _TowerForward(model, own, fixed, tower.embedding)
    bindings = {name: name for name in own}
    return ComponentModule(
        tower.component, module, bindings, (tower.embedding,), tower.modality, "model."
    )


def _answer(model: nn.Module, tower: Tower, example: Tensors, wanted: Tensors) -> Answer:
    """Where forward can be answered with the tower's embedding: tried, and compared."""
    paths = [path for path in tower.modules if _has_module(model, path)]
    places = [_at_module(path, make) for path in paths for make in (_itself, _pooled)]
    places.append(_at_method(tower.method))
    for place in places:
        if _reproduces(model, place, wanted[tower.embedding], example, wanted):
            return place
    raise ProjectError(
        f"{type(model).__name__}.forward cannot be continued from {tower.embedding}",
        expected=f"the tower to end in {tower.method} or one of {', '.join(tower.modules)}",
        hint='[recipe] name = "hf_single_pass" keeps forward whole',
    )


def _reproduces(
    model: nn.Module, place: Answer, embedding: Tensor, example: Tensors, wanted: Tensors
) -> bool:
    try:
        # Doubled, for forward normalises behind the place. Turned round, for a place that forward
        # never asks would reproduce everything; not among each other, for samples may be equal.
        with torch.no_grad(), place(model, 2 * embedding):
            same = results_of(model(**example))
        with torch.no_grad(), place(model, embedding.flip(-1)):
            other = results_of(model(**example))
    except (AttributeError, TypeError, RuntimeError, IndexError):
        return False
    used = any(not torch.allclose(other[name], wanted[name]) for name in wanted)
    return used and all(
        torch.allclose(same[name], wanted[name], rtol=ROUNDING, atol=ROUNDING) for name in wanted
    )


def _has_module(model: nn.Module, path: str) -> bool:
    return any(name == path for name, _ in model.named_modules())


def _itself(embedding: Tensor) -> Any:
    return embedding


def _pooled(embedding: Tensor) -> Any:
    """As the pooled output: by its name, or as the second of two (ALIGN)."""
    outputs = require("transformers.modeling_outputs")
    return outputs.BaseModelOutputWithPooling(last_hidden_state=embedding, pooler_output=embedding)


def _at_module(path: str, make: Callable[[Tensor], Any]) -> Answer:
    @contextmanager
    def answer(model: nn.Module, embedding: Tensor) -> Iterator[None]:
        result = make(embedding)
        with replaced_forward(model.get_submodule(path), lambda *_args, **_kwargs: result):
            yield

    return answer


def _at_method(method: str) -> Answer:
    @contextmanager
    def answer(model: nn.Module, embedding: Tensor) -> Iterator[None]:
        with answering_method(model, method, _pooled(embedding)):
            yield

    return answer


def _reference(model: nn.Module, inputs: Tensors, names: tuple[str, ...]) -> dict[str, Tensor]:
    with torch.no_grad():
        results = results_of(model(**inputs))
    return {name: results[name] for name in names}


recipe = DualEncoder()
