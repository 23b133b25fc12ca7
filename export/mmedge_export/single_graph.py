"""Recipe `single_graph`: the whole forward of any nn.Module as one component, `model`."""

from __future__ import annotations

from typing import Any

import msgspec
import torch

from mmedge.project import Project
from mmedge.recipes import ComponentModule, Split, Tensors
from mmedge.strict import decode
from mmedge_export.cut import free_name
from mmedge_export.forward_slice import ForwardSlice
from mmedge_export.reference import forward_arguments, output_names, whole_model


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[recipe]` has no further keys."""


class SingleGraph:
    """One component; the degenerate case of everything else."""

    def split(
        self, model: torch.nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """The whole model as one component, its outputs named as forward names them."""
        decode(options, Options, where="[recipe]")
        names = forward_arguments(model, project)
        whole = ForwardSlice(model, inputs=names, cuts=(), until=None)
        with torch.no_grad():
            produced = whole.named(*[example[name] for name in names])
        public = output_names(project, produced)
        made = {name: free_name(name, names) for name in public.values()}
        modality = project.file.inputs[names[0]].modality if len(names) == 1 else "multimodal"
        component = ComponentModule(
            name="model",
            module=whole,
            bindings={name: name for name in names},
            outputs=tuple(made.values()),
            modality=modality,
            prefix="model.",
        )
        return Split(
            components=(component,),
            outputs={name: f"model.{own}" for name, own in made.items()},
            reference=whole_model(model, project, public),
        )


recipe = SingleGraph()
