"""The axes of a generating decoder that count its tokens: the loop decides their sizes."""

from __future__ import annotations

from mmedge.tensors import Dim
from mmedge.wiring import ComponentSpec, Generation, Wiring


def generated_axes(generation: Generation, decoder: ComponentSpec) -> dict[str, str]:
    """Which axis of the decoder counts the past, the new tokens and both; those that it has."""
    specs = {spec.name: spec for spec in decoder.inputs}
    batch = specs[generation.token_input].shape[0]
    caches = [specs[name] for name in generation.cache]
    past = caches[0].dynamic_axes.values() if caches else ()
    found: dict[str, list[Dim]] = {
        "past": [name for name in past if name != batch],
        "new": [specs[generation.token_input].shape[1]],
        "total": [specs[generation.mask_input].shape[1]] if generation.mask_input else [],
    }
    first = {role: names[0] for role, names in found.items() if names}
    return {role: name for role, name in first.items() if isinstance(name, str)}


def decided_axes(wiring: Wiring) -> list[str]:
    """Those of them that nothing else has: whose sizes nobody can ask for."""
    generation = wiring.generation
    if generation is None:
        return []
    others = [c for c in wiring.components if c.name != generation.decoder]
    shared = {name for c in others for spec in c.inputs for name in spec.dynamic_axes.values()}
    own = generated_axes(generation, wiring.component(generation.decoder)).values()
    return [name for name in dict.fromkeys(own) if name not in shared | set(wiring.axes)]
