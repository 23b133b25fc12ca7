"""Which component makes each source, and what that takes: questions asked of the wiring."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mmedge.errors import BundleError
from mmedge.strict import nearest
from mmedge.wiring import ComponentSpec, Generation, Source, Wiring


class SourceGraph:
    """The sources of a wiring and the components between them.

    A generating decoder makes one source, "<decoder>.tokens"; its logits and cache are its own.
    """

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.inputs = {item.spec.name for item in wiring.inputs}
        self.decoder = wiring.generation.decoder if wiring.generation else None
        self.producers: dict[Source, ComponentSpec] = {}
        for component in wiring.components:
            if len(component.bindings) < len(component.inputs) and component.name != self.decoder:
                continue  # an embedding that only the generating loop can feed
            names = ["tokens"] if component.name == self.decoder else _output_names(component)
            self.producers |= {f"{component.name}.{name}": component for name in names}

    def needed(self, wanted: Iterable[Source], known: Collection[Source]) -> set[Source]:
        """`wanted` and all that they are made from, except what is only behind `known`."""
        found: set[Source] = set()
        waiting = list(wanted)
        while waiting:
            source = waiting.pop()
            if source in found:
                continue
            found.add(source)
            if source not in known:
                waiting.extend(self._made_from(source))
        return found

    def components(self, sources: Collection[Source]) -> list[ComponentSpec]:
        """The components that make any of `sources`, in the order they run, a decoder last."""
        names = {self.producers[source].name for source in sources if source in self.producers}
        chosen = [component for component in self.wiring.components if component.name in names]
        return sorted(chosen, key=lambda component: component.name == self.decoder)

    def requires(self, source: Source, name: str) -> bool:
        """Whether `source` cannot be had without the model input `name`, substitutes considered."""
        if source == name:
            return True
        return any(
            made_from not in self.wiring.substitutes and self.requires(made_from, name)
            for made_from in self._required_by(source)
        )

    def _made_from(self, source: Source) -> list[Source]:
        if source in self.inputs:
            return []
        if source not in self.producers:
            raise BundleError(
                f"nothing makes {source!r}", hint=nearest(source, [*self.inputs, *self.producers])
            )
        generation = self._generation(source)
        read = () if generation is None else generation.sources
        return [*self.producers[source].bindings.values(), *read]

    def _required_by(self, source: Source) -> list[Source]:
        generation = self._generation(source)
        if generation is None:
            return self._made_from(source)
        return [*self.producers[source].bindings.values(), *generation.required]

    def _generation(self, source: Source) -> Generation | None:
        """The loop that makes `source`, if one does."""
        generation = self.wiring.generation
        return generation if generation and source == generation.tokens else None


def _output_names(component: ComponentSpec) -> list[str]:
    return [spec.name for spec in component.outputs]
