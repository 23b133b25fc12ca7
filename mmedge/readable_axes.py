"""Names for the axes that an exporter left as symbols of its own, such as `s0 + s21`."""

from __future__ import annotations

import re

import msgspec

from mmedge.tensors import Dim, TensorSpec
from mmedge.wiring import ComponentSpec, Generation, Wiring

_NAME = re.compile(r"[A-Za-z_]\w*")


def with_readable_axes(wiring: Wiring) -> Wiring:
    """The wiring for people: every size is a number, or said in names of axes that are declared.

    A cache that has grown is "past + new", in the names of its decoder; what else no input of a
    component has is named for the output and the place in its shape.
    """
    known = {name for item in wiring.inputs for name in _names(item.spec)}
    components = tuple(_readable(c, known, wiring.generation) for c in wiring.components)
    return msgspec.structs.replace(wiring, components=components)


def _readable(
    component: ComponentSpec, known: set[str], generation: Generation | None
) -> ComponentSpec:
    own = known | {name for spec in component.inputs for name in _names(spec)}
    named = _grown(component, own, generation)

    def dim(size: Dim, spec: TensorSpec, place: int) -> Dim:
        if isinstance(size, int) or own.issuperset(_NAME.findall(size)):
            return size
        return named.setdefault(size, f"{spec.name}_{place}")

    outputs = tuple(
        TensorSpec(s.name, s.dtype, tuple(dim(d, s, i) for i, d in enumerate(s.shape)))
        for s in component.outputs
    )
    return msgspec.structs.replace(component, outputs=outputs)


def _grown(
    component: ComponentSpec, own: set[str], generation: Generation | None
) -> dict[str, str]:
    """Symbolic size -> name, of the axis along which the cache grows."""
    if generation is None or component.name != generation.decoder:
        return {}
    inputs = {spec.name: spec for spec in component.inputs}
    outputs = {spec.name: spec for spec in component.outputs}
    new = inputs[generation.token_input].shape[1]
    return {
        after: f"{before} + {new}"
        for past, present in generation.cache.items()
        for before, after in zip(inputs[past].shape, outputs[present].shape, strict=True)
        if isinstance(after, str) and before != after and not own.issuperset(_NAME.findall(after))
    }


def _names(spec: TensorSpec) -> set[str]:
    return {name for dim in spec.shape if isinstance(dim, str) for name in _NAME.findall(dim)}
