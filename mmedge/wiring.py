"""How the graphs of one model are wired: plain data, the same in the compiler and on the device.

A *source* is a string: the name of a model input ("question") or of a component's output
("image_encoder.features": up to the first dot the component, then the output, which may hold
dots of its own). Every component input is bound to a source, so is every model output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from mmedge.errors import ProjectError
from mmedge.generation import Generation, LogitsRules, Source, check_generation
from mmedge.tensors import DTYPES, Array, Axis, TensorSpec

__all__ = [
    "ComponentSpec",
    "Generation",
    "LogitsRules",
    "ModelInput",
    "Source",
    "Substitute",
    "Wiring",
    "axis_size",
    "other_sizes",
    "resize_axis",
    "with_indicators",
]


def resize_axis(
    inputs: Mapping[str, Array], specs: Iterable[TensorSpec], *, axis: str, size: int
) -> dict[str, Array]:
    """The inputs with `size` entries along the named axis: repeated in a circle, or dropped."""
    resized = dict(inputs)
    for spec in specs:
        for position, name in spec.dynamic_axes.items():
            if name == axis and spec.name in resized:
                array = resized[spec.name]
                resized[spec.name] = array.take(np.arange(size) % array.shape[position], position)
    return resized


def axis_size(inputs: Mapping[str, Array], specs: Iterable[TensorSpec], axis: str) -> int:
    """The size of a named axis in `inputs`; KeyError if none of them has it."""
    for spec in specs:
        for position, name in spec.dynamic_axes.items():
            if name == axis and spec.name in inputs:
                return int(inputs[spec.name].shape[position])
    raise KeyError(axis)


def other_sizes(size: int, limits: Axis) -> tuple[int, ...]:
    """Sizes the axis admits besides `size`: the next one, and one far away.

    The next one tells equal sizes from related ones; a stride may need the far one to show.
    """
    step = limits.step
    larger = size + step <= limits.max
    near, far = (size + step, min(2 * size, limits.max)) if larger else (size - step, size // 2)
    allowed = range(max(1, limits.min), limits.max + 1)
    return tuple(s for s in dict.fromkeys((near, far)) if s in allowed and s % step == 0)


class ModelInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input of the whole model.

    optional: may be absent at run time; whatever depends on it uses its substitute.
    indicates: this input tells, per example, whether the named input is present; the runtime
        fills it in unless the caller does.
    preprocess: how raw values (a photograph, a sentence, a sound) become the tensor.
    """

    spec: TensorSpec
    modality: str = "tensor"
    optional: bool = False
    indicates: str | None = None
    preprocess: dict[str, object] = {}


def with_indicators(items: Iterable[ModelInput], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs, with every indicator that is not among them saying present for every example."""
    filled = dict(inputs)
    count = len(next(iter(inputs.values())))
    for item in items:
        if item.indicates is not None and item.spec.name not in filled:
            dims = [dim if isinstance(dim, int) else count for dim in item.spec.shape]
            filled[item.spec.name] = np.ones(dims, dtype=item.spec.dtype)
    return filled


class ComponentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One graph: its name, modality, inputs and outputs, in the order the graph has them."""

    name: str
    modality: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    bindings: dict[str, Source]


class Substitute(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What stands in for a source when the optional input behind it is absent.

    file: a .npy in the bundle with the learned value for one example; without it, zeros.
    """

    spec: TensorSpec
    file: str | None = None


class Wiring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All components in the order they run, and what connects them."""

    inputs: tuple[ModelInput, ...]
    components: tuple[ComponentSpec, ...]
    outputs: dict[str, Source]
    axes: dict[str, Axis] = {}
    substitutes: dict[Source, Substitute] = {}
    generation: Generation | None = None

    def component(self, name: str) -> ComponentSpec:
        """The component called `name`; KeyError if there is none."""
        for component in self.components:
            if component.name == name:
                return component
        raise KeyError(name)

    def input(self, name: str) -> ModelInput:
        """The model input called `name`; KeyError if there is none."""
        for model_input in self.inputs:
            if model_input.spec.name == name:
                return model_input
        raise KeyError(name)

    def sources(self) -> dict[Source, TensorSpec]:
        """Every source that something may be bound to, with its spec."""
        found = {item.spec.name: item.spec for item in self.inputs}
        for component in self.components:
            found |= {f"{component.name}.{out.name}": out for out in component.outputs}
        return found

    def inner_axes(self) -> list[str]:
        """Named axes that components have and the model's inputs have not."""
        specs = [spec for component in self.components for spec in component.inputs]
        named = {name for spec in specs for name in spec.dynamic_axes.values()}
        return sorted(named - set(self.axes))

    def check(self) -> None:
        """Raise ProjectError unless every binding names an earlier source, and names are unique.

        Also where a dtype or dimension is impossible, an input's axis has no range, or something
        is said of an input, output or component that there is not.
        """
        self._check_inputs()
        if self.generation is not None:
            check_generation(self.generation, self.components, self.sources())
        known = {item.spec.name for item in self.inputs}
        seen: set[str] = set()
        for component in self.components:
            if component.name in seen:
                raise ProjectError(f"two components are called {component.name!r}")
            seen.add(component.name)
            fed = self._fed_by_generation(component)
            for tensor in component.inputs:
                self._check_bound(component, tensor, known, fed)
            if not (fed and self._is_embed(component)):  # then only the loop can run it
                known |= {f"{component.name}.{out.name}" for out in component.outputs}
        for source in self.substitutes:
            if source not in known:
                raise ProjectError(f"{source!r} has a substitute, and nothing makes it")
        self._check_tensors()
        if self.generation is not None:
            known.add(self.generation.tokens)
        for output, source in self.outputs.items():
            if source not in known:
                raise ProjectError(f"output {output!r} is wired to {source!r}, which nothing makes")

    def _check_inputs(self) -> None:
        names = [item.spec.name for item in self.inputs]
        for item in self.inputs:
            name = item.spec.name
            if names.count(name) > 1:
                raise ProjectError(f"two inputs are called {name!r}")
            if item.indicates is not None and item.indicates not in names:
                raise ProjectError(f"input {name!r} indicates {item.indicates!r}, which is none")
            for axis in item.spec.dynamic_axes.values():
                if axis not in self.axes:
                    raise ProjectError(f"axis {axis!r} of input {name!r} has no range")

    def _check_tensors(self) -> None:
        specs = [*self.sources().values(), *(s.spec for s in self.substitutes.values())]
        specs += [spec for component in self.components for spec in component.inputs]
        for spec in specs:
            if spec.dtype not in DTYPES or any(isinstance(d, int) and d < 0 for d in spec.shape):
                raise ProjectError("a tensor has an impossible dtype or shape", found=spec)

    def _is_embed(self, component: ComponentSpec) -> bool:
        return self.generation is not None and self.generation.embed == component.name

    def _fed_by_generation(self, component: ComponentSpec) -> set[str]:
        """Inputs that the generating loop provides: the tokens, the cache, their positions."""
        if self._is_embed(component):
            return {spec.name for spec in component.inputs if spec.name not in component.bindings}
        if self.generation is None or self.generation.decoder != component.name:
            return set()
        return set(self.generation.fed)

    def _check_bound(
        self, component: ComponentSpec, tensor: TensorSpec, known: set[str], fed: set[str]
    ) -> None:
        if tensor.name in fed:
            return
        source = component.bindings.get(tensor.name)
        if source not in known:
            raise ProjectError(
                f"input {tensor.name!r} of component {component.name!r} is not wired",
                found=source,
                expected=f"one of {', '.join(sorted(known))}",
            )
