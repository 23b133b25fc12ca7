"""What goes between components, and the caches of decoders, in a narrow format."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import msgspec

from mmedge.graph.precision.decide import Seen
from mmedge.graph.precision.formats import STANDS_FOR_MINUS_INFINITY, NarrowFormat
from mmedge.tensors import TensorSpec
from mmedge.wiring import ComponentSpec, Source, Wiring

Names = dict[str, set[str]]
SeenByComponent = Mapping[str, Mapping[str, Seen]]


def narrow_edges(wiring: Wiring, seen: SeenByComponent, narrow: NarrowFormat) -> Names:
    """Component -> its inputs and outputs that become narrow.

    Those are what one component makes for others, and a decoder's cache, past and present; where
    its numbers fit on real inputs. Left are the model's own inputs and outputs, what may be
    substituted when an input is absent, masks, and what the generating loop itself reads.
    """
    found: Names = {component.name: set() for component in wiring.components}
    for source, spec in _between(wiring):
        owner, _, output = source.partition(".")
        readers = [
            (component.name, name)
            for component in wiring.components
            for name, bound in component.bindings.items()
            if bound == source
        ]
        ends = [(owner, output), *readers]
        if spec.dtype == "float32" and readers and _all_fit(ends, seen, narrow):
            for component, name in ends:
                found[component].add(name)
    if wiring.generation is not None:
        decoder = wiring.generation.decoder
        found[decoder] |= _cache(wiring, seen, narrow)
    return found


def with_narrow_edges(wiring: Wiring, edges: Mapping[str, Collection[str]]) -> Wiring:
    """The wiring with these inputs and outputs in float16, the one format that numpy has."""
    components = (
        _with(component, edges.get(component.name, ())) for component in wiring.components
    )
    return msgspec.structs.replace(wiring, components=tuple(components))


def _between(wiring: Wiring) -> Iterator[tuple[Source, TensorSpec]]:
    generation = wiring.generation
    read = set() if generation is None else {*generation.sources}
    fixed = {*wiring.outputs.values(), *wiring.substitutes, *read}
    for component in wiring.components:
        if generation is not None and component.name in (generation.decoder, generation.embed):
            continue
        passed_on = {spec.name for spec in component.inputs}
        for spec in component.outputs:
            source = f"{component.name}.{spec.name}"
            if source not in fixed and spec.name not in passed_on:
                yield source, spec


def _cache(wiring: Wiring, seen: SeenByComponent, narrow: NarrowFormat) -> set[str]:
    """All of the cache or nothing: what a call returns is what the next one takes."""
    generation = wiring.generation
    assert generation is not None
    names = {*generation.cache, *generation.cache.values()}
    decoder = wiring.component(generation.decoder)
    specs = [spec for spec in (*decoder.inputs, *decoder.outputs) if spec.name in names]
    fits = _all_fit([(decoder.name, name) for name in names], seen, narrow)
    return names if fits and all(spec.dtype == "float32" for spec in specs) else set()


def _all_fit(
    ends: Collection[tuple[str, str]], seen: SeenByComponent, narrow: NarrowFormat
) -> bool:
    """Whether each was seen, with numbers that the format holds."""
    facts = [seen.get(component, {}).get(name) for component, name in ends]
    return all(
        fact is not None
        and fact.largest <= narrow.most_seen
        and not fact.lowest <= STANDS_FOR_MINUS_INFINITY
        for fact in facts
    )


def _with(component: ComponentSpec, names: Collection[str]) -> ComponentSpec:
    def changed(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(
            msgspec.structs.replace(spec, dtype="float16") if spec.name in names else spec
            for spec in specs
        )

    return msgspec.structs.replace(
        component, inputs=changed(component.inputs), outputs=changed(component.outputs)
    )
