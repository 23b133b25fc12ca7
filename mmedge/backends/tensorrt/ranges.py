"""The sizes that every axis of every component may have: what optimization profiles are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from mmedge.axis_shapes import profile_count
from mmedge.backends.tensorrt.size_expressions import size_of
from mmedge.engine_plan import Range
from mmedge.errors import BuildError
from mmedge.generated_axes import generated_axes
from mmedge.generation import Generation
from mmedge.wiring import ComponentSpec, Wiring

Ranges = Mapping[str, Range]


def component_ranges(
    wiring: Wiring, shapes: Mapping[str, tuple[Range, ...]] = MappingProxyType({})
) -> dict[str, tuple[dict[str, Range], ...]]:
    """Component -> its optimization profiles: one range for each axis of its inputs.

    shapes: by axis, what was asked for; several ranges make several profiles. A generating decoder
    has two for each of them: the prompt, and one token after it. BuildError names an axis whose
    sizes do not follow from the declared ones.
    """
    found: dict[str, list[dict[str, Range]]] = {c.name: [] for c in wiring.components}
    for number in range(profile_count(shapes)):
        asked = {axis: ranges[number % len(ranges)] for axis, ranges in shapes.items()}
        for name, profiles in _one_round(wiring, asked).items():
            found[name] += [profile for profile in profiles if profile not in found[name]]
    return {name: tuple(profiles) for name, profiles in found.items()}


def _one_round(wiring: Wiring, asked: Ranges) -> dict[str, list[dict[str, Range]]]:
    """The profiles of every component for one range of each axis."""
    known = {name: Range(axis.min, axis.opt, axis.max) for name, axis in wiring.axes.items()}
    known |= asked
    known |= dict(_derived(wiring, known))
    found: dict[str, list[dict[str, Range]]] = {}
    for component in wiring.components:
        generation = wiring.generation
        phases: list[dict[str, Range]] = [{}]
        if generation is not None and component.name == generation.decoder:
            phases = _phases(generation, wiring, known)
        elif generation is not None and component.name == generation.embed:
            phases = [_with_single_tokens(component, known)]
        found[component.name] = [_of_inputs(component, {**known, **p}) for p in phases]
    return found


def _derived(wiring: Wiring, known: Ranges) -> Iterator[tuple[str, Range]]:
    """Axes inside the model, which follow from those of its inputs.

    A component's output says how its sizes follow ("patches//4"); the input bound to it has a
    name for them.
    """
    expressions = wiring.sources()
    for component in wiring.components:
        for spec in component.inputs:
            source = expressions.get(component.bindings.get(spec.name, ""))
            for name, dim in zip(spec.shape, source.shape if source else (), strict=False):
                if isinstance(name, str) and name not in known:
                    sizes = _evaluated(str(dim), known)
                    if sizes is not None:
                        yield name, sizes


def _evaluated(expression: str, known: Ranges) -> Range | None:
    """Sizes grow with those they follow from, in every architecture there is."""
    ends = [
        size_of(expression, {name: getattr(sizes, end) for name, sizes in known.items()})
        for end in ("min", "opt", "max")
    ]
    if any(end is None for end in ends):
        return None
    low, best, high = sorted(end for end in ends if end is not None)
    return Range(max(0, low), best, high)


def _of_inputs(component: ComponentSpec, known: Ranges) -> dict[str, Range]:
    names = [name for spec in component.inputs for name in spec.dynamic_axes.values()]
    lost = [name for name in dict.fromkeys(names) if name not in known]
    if lost:
        raise BuildError(
            f"the sizes of axis {lost[0]!r} of component {component.name!r} are not known",
            expected="an axis of the model's inputs, or one that follows from them",
            hint=f"say which: --shape {lost[0]}=MIN:OPT:MAX",
        )
    return {name: known[name] for name in dict.fromkeys(names)}


def _with_single_tokens(embed: ComponentSpec, known: Ranges) -> dict[str, Range]:
    """The embedding sees the prompt, and then one token at a time."""
    length = embed.inputs[0].shape[1]
    if not isinstance(length, str):
        return {}
    prompt = known[length]
    return {length: Range(1, prompt.opt, prompt.max)}


def _phases(generation: Generation, wiring: Wiring, known: Ranges) -> list[dict[str, Range]]:
    """Sizes of the prompt's run, and of the runs of one token each after it."""
    decoder = wiring.component(generation.decoder)
    prompt = _prompt_length(generation, wiring, known)
    longest = prompt.max + generation.max_new_tokens
    halfway = prompt.opt + generation.max_new_tokens // 2
    one = Range(1, 1, 1)
    first = {"past": Range(0, 0, 0), "new": prompt, "total": prompt}
    after = {
        "past": Range(prompt.min, halfway - 1, longest - 1),
        "new": one,
        "total": Range(prompt.min + 1, halfway, longest),
    }
    names = generated_axes(generation, decoder)
    return [{names[role]: phase[role] for role in names} for phase in (first, after)]


def _prompt_length(generation: Generation, wiring: Wiring, known: Ranges) -> Range:
    source = generation.prompt_embeddings or generation.prompt
    if source is None:
        count = len(generation.start_token_ids)
        return Range(count, count, count)
    length = str(wiring.sources()[source].shape[1])
    sizes = _evaluated(length, known)
    if sizes is None:
        raise BuildError(
            "the length of the prompt is not known",
            found=length,
            expected="an axis of the model's inputs, or one that follows from them",
        )
    return sizes
