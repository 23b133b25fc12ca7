"""Run the components of a model along their wiring, on numpy arrays.

Whoever calls says how one component runs, so that the compiler and the device share this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mmedge.errors import BundleError, InputError
from mmedge.runtime.fit import check_feeds, check_fits
from mmedge.runtime.generate import generate
from mmedge.runtime.inputs import check_inputs, check_present, indicator_value, substitute_value
from mmedge.runtime.kv_cache import Bind
from mmedge.runtime.next_token import GREEDY, GenerateOptions
from mmedge.runtime.prompt import read_prompt
from mmedge.runtime.source_graph import SourceGraph
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ComponentSpec, Generation, Source, Wiring

RunComponent = Callable[[str, dict[str, Array]], dict[str, Array]]


def execute(
    wiring: Wiring,
    inputs: Mapping[str, Array],
    run: RunComponent,
    *,
    substitutes: Mapping[Source, Array] = {},
    known: Mapping[Source, Array] = {},
    bind: Bind | None = None,
    options: GenerateOptions = GREEDY,
) -> dict[str, Array]:
    """The model's outputs by name; `evaluate` explains the arguments.

    Raises what `evaluate` raises, and InputError where an output needs an optional input that
    was not given, naming it.
    """
    values = evaluate(
        wiring,
        inputs,
        run,
        wiring.outputs.values(),
        substitutes=substitutes,
        known=known,
        bind=bind,
        options=options,
    )
    for output, source in wiring.outputs.items():
        if source not in values:
            raise _absent_output(wiring, output, source, inputs)
    return {output: values[source] for output, source in wiring.outputs.items()}


def evaluate(
    wiring: Wiring,
    inputs: Mapping[str, Array],
    run: RunComponent,
    sources: Iterable[Source],
    *,
    substitutes: Mapping[Source, Array] = {},
    known: Mapping[Source, Array] = {},
    bind: Bind | None = None,
    options: GenerateOptions = GREEDY,
) -> dict[Source, Array]:
    """The values of `sources`; one that takes an absent optional input is left out.

    Only components that `sources` need are run. A component bound to an absent source is
    skipped, and its outputs are absent, unless the source has a substitute.

    inputs: the declared tensors by name; optional inputs and indicators may be left out.
    run: component name and feeds -> all of its outputs by name.
    substitutes: the learned values of the substitutes that have a file, for one example.
    known: component outputs from an earlier call, which are not computed again; the inputs
        that only they need may be left out.
    bind, options: see mmedge.runtime.generate.

    Raises InputError for inputs that do not fit, BundleError where a component does not return
    what it declares or what the next one takes, naming both.
    """
    wanted = tuple(sources)
    graph = SourceGraph(wiring)
    needed = graph.needed(wanted, known)
    sizes = check_inputs(wiring, inputs)
    check_present(wiring, inputs, needed)
    step = _Execution(graph, run, {**inputs, **known}, sizes, substitutes, bind, options)
    step.record_sizes(known)
    step.fill_indicators(needed, known)
    for component in graph.components(needed - known.keys()):
        if component.name == graph.decoder:
            step.generate(component)
        else:
            step.run_component(component)
    return {source: step.values[source] for source in wanted if source in step.values}


@dataclass(frozen=True)
class _Execution:
    """One call: the values so far (an absent source has none), the sizes of the named axes."""

    graph: SourceGraph
    run: RunComponent
    values: dict[Source, Array]
    sizes: dict[str, int]
    learned: Mapping[Source, Array]
    bind: Bind | None
    options: GenerateOptions

    def record_sizes(self, known: Mapping[Source, Array]) -> None:
        specs = self.graph.wiring.sources()
        for source, value in known.items():
            own: dict[str, int] = {}
            if source in specs:  # the tokens of a decoder have no spec
                check_fits(specs[source], value, own, f"the known value of {source!r}")
            for axis, size in own.items():
                self.sizes.setdefault(axis, size)

    def fill_indicators(self, needed: set[Source], known: Iterable[Source]) -> None:
        for item in self.graph.wiring.inputs:
            name, subject = item.spec.name, item.indicates
            if subject is None or name not in needed:
                continue
            # A known source that requires the subject could not have been made without it.
            present = subject in self.values or any(
                self.graph.requires(source, subject) for source in known
            )
            self.values[name] = indicator_value(
                item, self.values.get(name), present, self.graph.wiring.axes, self.sizes
            )

    def run_component(self, component: ComponentSpec) -> None:
        feeds = self._feeds(component, component.inputs)
        if feeds is None:
            return
        for name, value in self._outputs(component, feeds).items():
            self.values.setdefault(f"{component.name}.{name}", value)

    def generate(self, decoder: ComponentSpec) -> None:
        generation = self.graph.wiring.generation
        assert generation is not None  # otherwise no component is the decoder
        bound = [spec for spec in decoder.inputs if spec.name not in generation.fed]
        feeds = self._feeds(decoder, bound)
        if feeds is None:
            return
        sizes = {**self.sizes, **check_feeds(decoder, feeds)}
        prompt = read_prompt(generation, self._value, _batch(decoder, generation, sizes))
        if prompt is None:
            return
        self.values[generation.tokens] = generate(
            generation,
            decoder,
            lambda step: self.run(decoder.name, step),
            prompt,
            feeds=feeds,
            embed=self._embed(generation.embed),
            bind=self.bind,
            axes=self.graph.wiring.axes,
            options=self.options,
        )

    def _embed(self, name: str | None) -> Callable[[Array], Array] | None:
        if name is None:
            return None
        component = self.graph.wiring.component(name)
        (taken,), (given,) = component.inputs, component.outputs
        return lambda ids: self._outputs(component, {taken.name: ids.astype(taken.dtype)})[
            given.name
        ]

    def _outputs(self, component: ComponentSpec, feeds: dict[str, Array]) -> dict[str, Array]:
        """What the component makes of `feeds`; BundleError where it is not what it declares."""
        sizes = check_feeds(component, feeds)
        outputs = self.run(component.name, feeds)
        for spec in component.outputs:
            what = f"output {spec.name!r} of component {component.name!r}"
            if spec.name not in outputs:
                raise BundleError(f"{what} was not returned", found=", ".join(sorted(outputs)))
            check_fits(spec, outputs[spec.name], sizes, what)
        return {spec.name: outputs[spec.name] for spec in component.outputs}

    def _feeds(
        self, component: ComponentSpec, specs: Iterable[TensorSpec]
    ) -> dict[str, Array] | None:
        """What the component is bound to, or None where a source is absent for good."""
        feeds = {}
        for spec in specs:
            value = self._value(component.bindings[spec.name])
            if value is None:
                return None
            feeds[spec.name] = value
        return feeds

    def _value(self, source: Source | None) -> Array | None:
        """The source's value, or its substitute, or None."""
        wiring = self.graph.wiring
        if source is None or source in self.values:
            return None if source is None else self.values[source]
        if source not in wiring.substitutes:
            return None
        substitute = wiring.substitutes[source]
        return substitute_value(source, substitute, self.learned, wiring.axes, self.sizes)


def _batch(decoder: ComponentSpec, generation: Generation, sizes: Mapping[str, int]) -> int:
    """Sequences to generate: the leading axis of the decoder's tokens, as other feeds have it."""
    axis = next(s.shape[0] for s in decoder.inputs if s.name == generation.token_input)
    return axis if isinstance(axis, int) else sizes.get(axis, 1)


def _absent_output(
    wiring: Wiring, output: str, source: Source, inputs: Mapping[str, Array]
) -> InputError:
    graph = SourceGraph(wiring)
    causes = [
        item.spec.name
        for item in wiring.inputs
        if item.optional and item.spec.name not in inputs and graph.requires(source, item.spec.name)
    ]
    return InputError(
        f"output {output!r} needs optional input {' and '.join(map(repr, causes))}",
        found=f"given: {', '.join(sorted(inputs)) or 'no inputs'}",
        hint=f"pass {', '.join(causes)}",
    )
