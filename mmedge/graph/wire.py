"""The wiring of the finished graphs: what each still needs, and what stands in for an absence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from mmedge.errors import ProjectError
from mmedge.project import Project
from mmedge.recipes import ComponentModule, Split
from mmedge.strict import nearest
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ComponentSpec, Source, Substitute, Wiring

if TYPE_CHECKING:
    import torch

Specs = Mapping[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]]


def wire(project: Project, split: Split, specs: Specs) -> Wiring:
    """The wiring, from the inputs that the graphs still have after dead code was removed.

    specs: component -> (inputs, outputs) of its graph.
    """
    inputs = project.model_inputs()
    described = [_component(module, *specs[module.name]) for module in split.components]
    components = _without_unused(_with_modalities(described, project), split)
    wiring = Wiring(
        inputs=inputs,
        components=tuple(components),
        outputs=split.outputs,
        axes=project.axes(),
        generation=split.generation,
    )
    return msgspec.structs.replace(wiring, substitutes=_substitutes(project, wiring))


def learned_substitutes(
    project: Project, model: torch.nn.Module, wiring: Wiring
) -> Iterator[tuple[Source, Array]]:
    """The learned value of every substitute that has one, as float arrays of one example."""
    for source, substitute in wiring.substitutes.items():
        if substitute.file is None:
            continue
        parameter = project.file.inputs[_absent_input(wiring, source)].substitute
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        if parameter not in named:
            raise ProjectError(
                f"the model has no parameter {parameter!r} to stand in for an absent input",
                where="[inputs] substitute",
                hint=nearest(parameter, list(named)),
            )
        yield source, named[parameter].detach().numpy()


def _component(
    module: ComponentModule,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
) -> ComponentSpec:
    names = {tensor.name for tensor in inputs}
    bindings = {name: source for name, source in module.bindings.items() if name in names}
    return ComponentSpec(module.name, module.modality, inputs, outputs, bindings)


def _with_modalities(components: list[ComponentSpec], project: Project) -> list[ComponentSpec]:
    """Where a recipe names no modality: that of the inputs behind a component, or "multimodal"."""
    behind = {name: {table.modality} for name, table in project.file.inputs.items()}
    known: list[ComponentSpec] = []
    for component in components:
        found = {m for source in component.bindings.values() for m in behind[source]}
        found -= {"indicator"}
        behind |= {f"{component.name}.{output.name}": found for output in component.outputs}
        modality = component.modality
        if modality == "tensor" and found:
            modality = next(iter(found)) if len(found) == 1 else "multimodal"
        known.append(msgspec.structs.replace(component, modality=modality))
    return known


def _without_unused(components: list[ComponentSpec], split: Split) -> list[ComponentSpec]:
    """Components that some output or the generating loop needs."""
    needed = {source.split(".")[0] for source in split.outputs.values()}
    if split.generation is not None:
        needed |= {source.split(".")[0] for source in split.generation.sources}
        needed.add(split.generation.embed or split.generation.decoder)
    kept: list[ComponentSpec] = []
    for component in reversed(components):
        if component.name in needed:
            kept.insert(0, component)
            needed |= {source.split(".")[0] for source in component.bindings.values()}
    return kept


def _substitutes(project: Project, wiring: Wiring) -> dict[Source, Substitute]:
    """What stands in where an optional input is absent.

    A component that only prepares the input is skipped, and each of its outputs that somebody
    uses gets a substitute. A component that makes an output of the model cannot be skipped: then
    the input itself is substituted.
    """
    found: dict[Source, Substitute] = {}
    final = {source.split(".")[0] for source in wiring.outputs.values()}
    for item in wiring.inputs:
        if not item.optional:
            continue
        name = item.spec.name
        users = [c for c in wiring.components if name in c.bindings.values()]
        if any(user.name in final for user in users):
            found[name] = Substitute(item.spec, _file(project, name, name))
            continue
        for user in users:
            for output in user.outputs:
                source = f"{user.name}.{output.name}"
                found[source] = Substitute(output, _file(project, name, source))
    return found


def _file(project: Project, name: str, source: Source) -> str | None:
    learned = project.file.inputs[name].substitute != "zeros"
    return f"substitutes/{source.replace('.', '_')}.npy" if learned else None


def _absent_input(wiring: Wiring, source: Source) -> str:
    """The optional input whose absence `source` has a substitute for."""
    component, _, output = source.partition(".")
    if not output:
        return source
    bound = wiring.component(component).bindings.values()
    return next(name for name in bound if "." not in name and wiring.input(name).optional)
