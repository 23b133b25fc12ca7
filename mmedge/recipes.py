"""Recipes: how one architecture splits into graphs. Found by entry point, so anyone can add one.

A package registers a recipe under the entry-point group `mmedge.recipes`; the name is what
mmedge.toml says in `[recipe] name`, the object is a `Recipe` instance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mmedge.errors import ProjectError
from mmedge.project import InputTable, Project
from mmedge.strict import nearest
from mmedge.tensors import Array, Axis, TensorSpec
from mmedge.wiring import Generation, Source, resize_axis

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch


GROUP = "mmedge.recipes"
COMPONENT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
Tensors: TypeAlias = "Mapping[str, torch.Tensor]"
Resize: TypeAlias = "Callable[[Mapping[str, Array], str, int], dict[str, Array]]"


@dataclass(frozen=True)
class ExportAid:
    """What the library that a model is written with needs while it is exported.

    substituted: while active, code that cannot be traced is replaced by exact substitutes.
    translations: torch operator -> onnxscript function, over the exporter's own.
    repair: called with the exported program before it is translated.
    finish: called with the ONNX model as the exporter made it.
    """

    substituted: Callable[[], AbstractContextManager[None]] = nullcontext
    translations: Mapping[Any, Callable[..., Any]] = field(default_factory=dict)
    repair: Callable[[torch.export.ExportedProgram], None] = lambda program: None
    finish: Callable[[ir.Model], None] = lambda model: None


@dataclass(frozen=True)
class ComponentModule:
    """One future graph: a module called with the sources of `bindings`, in that order.

    module: `forward(*tensors)` returns a tensor or a tuple of tensors named by `outputs`. The
        decoder of a generating model is called with more: the sources of `bindings`, then the
        token input, then the cache inputs in the order of `Generation.cache`. Its outputs are
        the logits, and then the present of each cache input in that order.
    bindings: argument name -> source. The token and cache inputs of a decoder are not in it:
        the generation loop makes them.
    prefix: what the module's own wrapper puts before the user's module paths ("model.").
    """

    name: str
    module: torch.nn.Module
    bindings: dict[str, Source]
    outputs: tuple[str, ...]
    modality: str = "tensor"
    prefix: str = ""

    def __post_init__(self) -> None:
        """A component's name is the name of its files."""
        if not COMPONENT_NAME.fullmatch(self.name):
            raise ProjectError(
                f"{self.name!r} cannot be the name of a component",
                expected="letters, digits, _ and - only",
                where="mmedge.toml",
            )


@dataclass(frozen=True)
class Split:
    """A model taken apart: components in order, the outputs' sources, and the whole for reference.

    reference: the user's own model, run as they run it, on named tensors; an absent optional
        input is absent from the mapping. Verification compares everything with this. Of a
        generating model it makes at most `generation.compared_tokens`.
    decoder_inputs: for a generating model, the specs of the token input and every cache input,
        with their dynamic axes named.
    decoder_examples: for a generating model, an example of the token and every cache input, in
        mid-sequence: contiguous, no size 0 or 1, no two dynamic axes of the same size.
    outputs: of a generating model, {"tokens": "<decoder>.tokens"}, which the loop makes: int64
        [batch, length], without the start tokens, with the end token, padded after it.
    resize: inputs, axis and size -> inputs with that size, where inputs depend on each other (a
        text holds a token for every patch of its image). Without it, entries are repeated.
    aid: what exporting the components needs.
    """

    components: tuple[ComponentModule, ...]
    outputs: dict[str, Source]
    reference: Callable[[Tensors], dict[str, torch.Tensor]]
    generation: Generation | None = None
    decoder_inputs: tuple[TensorSpec, ...] = ()
    decoder_examples: dict[str, torch.Tensor] = field(default_factory=dict)
    resize: Resize | None = None
    aid: ExportAid = ExportAid()

    def component(self, name: str) -> ComponentModule:
        """The component called `name`; it is there."""
        return next(component for component in self.components if component.name == name)

    def is_decoder(self, name: str) -> bool:
        """Whether the component called `name` is run by the generating loop, not by itself."""
        return self.generation is not None and name == self.generation.decoder

    def resized(
        self, inputs: Mapping[str, Array], specs: Iterable[TensorSpec], *, axis: str, size: int
    ) -> dict[str, Array]:
        """The inputs with `size` entries along the named axis."""
        if self.resize is not None:
            return self.resize(inputs, axis, size)
        return resize_axis(inputs, specs, axis=axis, size=size)

    def run(self, inputs: Tensors) -> dict[Source, torch.Tensor]:
        """Every source's value, by running the components eagerly (not a generating decoder)."""
        import torch

        values: dict[Source, torch.Tensor] = dict(inputs)
        for component in self.components:
            if self.is_decoder(component.name):
                continue
            arguments = [values[source] for source in component.bindings.values()]
            with torch.no_grad():
                produced = component.module(*arguments)
            tensors = (produced,) if isinstance(produced, torch.Tensor) else produced
            for name, tensor in zip(component.outputs, tensors, strict=True):
                values[f"{component.name}.{name}"] = tensor
        return values


@dataclass(frozen=True)
class CheckpointView:
    """A Hugging Face checkpoint before any work: what a recipe looks at to say if it is its own.

    config: the transformers config. model_class: the class that config.json names.
    processor: options of `mmedge.runtime.processors`; empty where it is unknown.
    sample: tensors of one real sample by name, [1, ...], as the processor makes them; empty
        where there is no processor.
    flat: those of the sample's tensors that upstream takes without a batch axis.
    """

    directory: Path
    config: Any
    model_class: type[torch.nn.Module]
    processor: dict[str, Any]
    sample: Mapping[str, Array]
    flat: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """A project that a recipe suggests for a checkpoint.

    family: what the architecture is, for people ("dual encoder").
    inputs: the tables [inputs.NAME]. axes: the table [axes]. options: the table [recipe].
    reasons: why this recipe, and every decision it took, a sentence each.
    processor: options of the processor, where they are not the checkpoint's as they stand.
    components: names of the components as far as they are known before the model is loaded.
    """

    family: str
    inputs: dict[str, InputTable]
    axes: dict[str, Axis]
    options: dict[str, Any]
    reasons: tuple[str, ...]
    processor: dict[str, Any] | None = None
    components: tuple[str, ...] = ()


class FamilyRecipe(Protocol):
    """A recipe that recognises checkpoints by itself."""

    def propose(self, view: CheckpointView) -> Proposal | str:
        """The project for this checkpoint; or why it is not of this family, a short clause."""
        ...


class Recipe(Protocol):
    """How one family of models splits into components.

    `options` are the keys of `[recipe]` besides `name`, to be decoded strictly. `example` has a
    tensor for every model input, with a batch of at least 2 real samples where there are any.
    """

    def split(
        self, model: torch.nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """The model taken apart; ProjectError where the project does not fit the model."""
        ...


def available_recipes() -> dict[str, str]:
    """Recipe name -> where it is defined."""
    return {entry.name: entry.value for entry in entry_points(group=GROUP)}


def load_recipe(name: str) -> Recipe:
    """The recipe called `name`; ProjectError lists the known ones."""
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            recipe: Recipe = entry.load()
            return recipe
    known = list(available_recipes())
    raise ProjectError(
        f"there is no recipe {name!r}",
        where="[recipe] in mmedge.toml",
        hint=nearest(name, known) if known else "no recipes are registered: reinstall mmedge",
    )
