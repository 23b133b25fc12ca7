"""Recipe `declared`: the project file says what the components are and how they are wired.

    [components.image_encoder]
    module = "vision.backbone"            # dotted path in the model
    inputs = ["image"]                    # sources, in the order of the submodule's arguments
    outputs = ["image_features"]

    [components.head]
    module = "head"
    inputs = ["image_encoder.image_features", "question"]
    outputs = ["logits"]

    [wiring]                              # output of the model = source
    logits = "head.logits"

Chosen where there are [components] tables. Each component is a submodule as it stands, so there
must be no arithmetic between them in forward; where there is, `submodules` keeps it. The result
is compared with forward in any case.
"""

from __future__ import annotations

from typing import Any

import msgspec
import torch
from torch.utils._pytree import tree_flatten

from mmedge.errors import ProjectError
from mmedge.project import ComponentTable, Project
from mmedge.recipes import ComponentModule, Split, Tensors
from mmedge.strict import decode, nearest
from mmedge_export.cut import free_name
from mmedge_export.reference import forward_arguments, named_outputs, public_names, whole_model


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[recipe]` has no further keys: everything is in [components] and [wiring]."""


class SubmoduleCall(torch.nn.Module):
    """One submodule of the model, called alone; its result is a flat tuple of tensors.

    It holds the whole model, so that modules keep the paths that the user knows.
    """

    def __init__(self, model: torch.nn.Module, path: str) -> None:
        super().__init__()
        self.model = model
        self.path = path
        self.training = False

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The submodule called with `tensors`; its result flattened."""
        leaves, _ = tree_flatten(self.model.get_submodule(self.path)(*tensors))
        return tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))


class Declared:
    """Components and wiring from the project file."""

    def split(
        self, model: torch.nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """One component for each [components] table, in order."""
        decode(options, Options, where="[recipe]")
        names = forward_arguments(model, project)
        values = {name: example[name] for name in names}
        components = []
        for name, table in project.file.components.items():
            component = _component(name, table, model, list(values))
            components.append(component)
            values |= _outputs_of(component, values)
        outputs = _outputs(project, list(values))
        with torch.no_grad():
            produced = named_outputs(model(**{name: example[name] for name in names}))
        public = public_names(produced, outputs, table="[wiring]")
        whole = whole_model(model, project, public)
        return Split(
            components=tuple(components),
            outputs=outputs,
            reference=lambda inputs: _only(whole(inputs), outputs),
        )


def _outputs_of(
    component: ComponentModule, values: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What the component makes of the example, by source; ProjectError where it does not."""
    arguments = [values[source] for source in component.bindings.values()]
    where = f"[components.{component.name}]"
    try:
        with torch.no_grad():
            produced = component.module(*arguments)
    except Exception as error:
        given = zip(component.bindings.values(), arguments, strict=True)
        raise ProjectError(
            f"component {component.name!r} fails on its inputs",
            found=f"{type(error).__name__}: {error}",
            expected=f"it to take {', '.join(f'{name} {list(t.shape)}' for name, t in given)}",
            where=where,
            hint="inputs are in the order of the submodule's arguments",
        ) from error
    if len(produced) != len(component.outputs):
        raise ProjectError(
            f"component {component.name!r} returns another number of tensors than declared",
            found=len(produced),
            expected=f"{len(component.outputs)} ({', '.join(component.outputs)})",
            where=f"{where} outputs",
        )
    sources = [f"{component.name}.{output}" for output in component.outputs]
    return dict(zip(sources, produced, strict=True))


def _outputs(project: Project, known: list[str]) -> dict[str, str]:
    """[wiring]: output of the model -> source."""
    outputs = project.file.wiring
    if not outputs:
        raise ProjectError(
            "[components] are declared, and no output is wired",
            expected='[wiring] with lines like logits = "head.logits"',
            where=project.directory,
        )
    for name, source in outputs.items():
        if source not in known:
            raise ProjectError(
                f"[wiring] {name} takes {source!r}, which no component makes",
                where=project.directory,
                hint=nearest(source, known),
            )
    return outputs


def _only(produced: dict[str, torch.Tensor], outputs: dict[str, str]) -> dict[str, torch.Tensor]:
    return {name: produced[name] for name in outputs}


def _component(
    name: str, table: ComponentTable, model: torch.nn.Module, known: list[str]
) -> ComponentModule:
    modules = dict(model.named_modules())
    if table.module not in modules:
        raise ProjectError(
            f"the model has no submodule {table.module!r}",
            where=f"[components.{name}] module",
            hint=nearest(table.module, [path for path in modules if path]),
        )
    for source in table.inputs:
        if source not in known:
            raise ProjectError(
                f"component {name!r} takes {source!r}, which nothing before it makes",
                where=f"[components.{name}] inputs",
                hint=nearest(source, known),
            )
    bindings: dict[str, str] = {}
    for source in table.inputs:
        bindings[free_name(source.replace(".", "_"), (*bindings, *table.outputs), "_in")] = source
    return ComponentModule(
        name=name,
        module=SubmoduleCall(model, table.module),
        bindings=bindings,
        outputs=table.outputs,
        modality=table.modality,
        prefix="model.",
    )


recipe = Declared()
