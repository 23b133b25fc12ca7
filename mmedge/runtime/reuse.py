"""What some of a model's inputs alone decide, and how that is kept for later calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from mmedge.errors import InputError
from mmedge.runtime.inputs import check_inputs
from mmedge.runtime.source_graph import SourceGraph
from mmedge.tensors import Array
from mmedge.wiring import ComponentSpec, Source, Wiring


def kept_sources(wiring: Wiring, given: Collection[str]) -> set[Source]:
    """What `given` inputs alone decide and the rest of the model, or the caller, takes.

    An input that is not given may be later, so that it decides too, though it be optional; an
    indicator is decided by the input that it indicates. Tokens are never kept.
    """
    indicators = {item.spec.name for item in wiring.inputs if item.indicates in given}
    known: set[Source] = {*given, *indicators}
    undecided: list[ComponentSpec] = []
    for component in wiring.components:
        if _is_decided(wiring, component, known):
            known |= {f"{component.name}.{spec.name}" for spec in component.outputs}
        else:
            undecided.append(component)
    taken = {source for component in undecided for source in component.bindings.values()}
    taken |= set(wiring.outputs.values())
    if wiring.generation is not None:
        taken |= set(wiring.generation.sources)
    return (known & taken) - indicators


def _is_decided(wiring: Wiring, component: ComponentSpec, known: Collection[Source]) -> bool:
    if wiring.generation is not None and wiring.generation.decoder == component.name:
        return False
    bound = component.bindings.values()
    return len(bound) == len(component.inputs) and all(source in known for source in bound)


@dataclass(frozen=True)
class Kept:
    """Inputs and component outputs of an earlier call.

    given: the inputs that decided them, by name.
    values: component outputs by source.
    """

    wiring: Wiring
    given: Mapping[str, Array]
    values: Mapping[Source, Array]

    def check_new(self, names: Collection[str], *, raw: Collection[str] = ()) -> None:
        """Raise InputError for an input that is settled, or that says whether one is there.

        raw: values that `given` was made from.
        """
        indicators = {i.spec.name for i in self.wiring.inputs if i.indicates in self.given}
        for name in names:
            if name in {*self.given, *raw, *indicators}:
                raise InputError(
                    f"input {name!r} is settled by what was encoded",
                    found=f"encoded: {', '.join([*raw, *self.given])}",
                    hint="encode anew for another value",
                )

    def joined(self, new: Mapping[str, Array]) -> tuple[dict[str, Array], dict[Source, Array]]:
        """The inputs and the known values of a call with the `new` inputs.

        Where one example was encoded and the new inputs are a batch, it is repeated for each.
        Raises InputError for other sizes that disagree, and for what cannot be repeated.
        """
        repeats = self._repeats(new)
        taken = kept_sources(self.wiring, self.given)
        specs = self.wiring.sources()
        known = {
            source: self._repeated(source, value, repeats)
            for source, value in {**self.given, **self.values}.items()
            if source in taken
        }
        assert known.keys() <= specs.keys()
        inputs = {name: value for name, value in known.items() if name in self.given}
        return {**inputs, **new}, {k: v for k, v in known.items() if k in self.values}

    def _repeats(self, new: Mapping[str, Array]) -> dict[str, int]:
        """Axis -> how often what was encoded is repeated along it."""
        before, now = check_inputs(self.wiring, self.given), check_inputs(self.wiring, new)
        different = {
            axis: now[axis] for axis in before if now.get(axis, before[axis]) != before[axis]
        }
        leading = {item.spec.shape[0] for item in self.wiring.inputs if item.spec.shape}
        for axis, size in different.items():
            if before[axis] != 1 or axis not in leading:
                raise InputError(
                    f"what was encoded has another size along axis {axis!r}",
                    found=f"{before[axis]} encoded, {size} given now",
                    expected=f"{before[axis]}, or one example encoded",
                )
        return different

    def _repeated(self, source: Source, value: Array, repeats: Mapping[str, int]) -> Array:
        spec = self.wiring.sources()[source]
        for axis, times in repeats.items():
            if axis in spec.shape:
                value = value.repeat(times, axis=spec.shape.index(axis))
            elif self._comes_from(source, axis):
                raise InputError(
                    f"what was encoded cannot be repeated for {times} examples",
                    found=f"{source!r} has no axis {axis!r}: {spec}",
                    hint="one example at a time, or encode as many",
                )
        return value

    def _comes_from(self, source: Source, axis: str) -> bool:
        """Whether an input that `source` is made from has that axis."""
        needed = SourceGraph(self.wiring).needed([source], ())
        return any(
            axis in item.spec.shape for item in self.wiring.inputs if item.spec.name in needed
        )


def same(before: Array, now: Array) -> bool:
    """Whether `now` is `before`, repeated along the first axis or not."""
    if before.shape[1:] != now.shape[1:] or before.shape[0] not in (1, now.shape[0]):
        return False
    return bool((np.broadcast_to(before, now.shape) == now).all())
