"""Recipe `submodules`: cut a model at named submodules; the rest of forward is one more component.

    [recipe]
    name = "submodules"
    components = ["question_encoder", "image_encoder"]   # in the order forward calls them
    rest = "fusion"

Nothing is rewritten. Component k is the user's own forward in which the submodules cut before it
answer with the tensors they are given, and whose result is what submodule k returns; the last
component (`rest`) is forward with every cut submodule answered. Whatever a slice does not need
is dead code, which export removes. So concatenation, weighted sums, structure fusion, decision
fusion and several outputs need no code of their own: whatever forward does between its
submodules is in `rest`, exactly.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import msgspec
import torch

from mmedge.errors import ProjectError
from mmedge.project import Project
from mmedge.recipes import ComponentModule, Split, Tensors
from mmedge.strict import decode, nearest
from mmedge_export.cut import Cut, copied, free_name, wrongly_called
from mmedge_export.forward_slice import ForwardSlice
from mmedge_export.reference import forward_arguments, output_names, whole_model


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of `[recipe]`.

    components: dotted paths of submodules, in the order forward calls them, each called once.
    rest: the name of the component that holds everything else.
    """

    components: tuple[str, ...]
    rest: str = "fusion"


class Submodules:
    """Cut at named submodules, in the order forward calls them."""

    def split(
        self, model: torch.nn.Module, project: Project, options: dict[str, Any], example: Tensors
    ) -> Split:
        """One component for each named submodule, and `rest`."""
        chosen = decode(options, Options, where="[recipe]")
        names = forward_arguments(model, project)
        tensors = [example[name] for name in names]
        results = _results_in_call_order(model, names, tensors, chosen.components)
        cuts: list[Cut] = []
        components: list[ComponentModule] = []
        bindings = {name: name for name in names}
        for path in results:
            piece = ForwardSlice(model, inputs=names, cuts=tuple(cuts), until=path)
            cut = Cut(path, results[path], taken=bindings)
            component = _component(path.replace(".", "_"), piece, bindings, cut.outputs)
            components.append(component)
            cuts.append(cut)
            tensors += cut.leaves
            bindings |= {out: f"{component.name}.{out}" for out in cut.outputs}
        rest = ForwardSlice(model, inputs=names, cuts=tuple(cuts), until=None)
        with torch.no_grad():
            public = output_names(project, rest.named(*tensors))
        made = {name: free_name(name, bindings) for name in public.values()}
        components.append(_component(chosen.rest, rest, bindings, tuple(made.values())))
        _check_names(components)
        return Split(
            components=tuple(components),
            outputs={name: f"{chosen.rest}.{own}" for name, own in made.items()},
            reference=whole_model(model, project, public),
        )


def _component(
    name: str, piece: ForwardSlice, bindings: dict[str, str], outputs: tuple[str, ...]
) -> ComponentModule:
    return ComponentModule(
        name=name, module=piece, bindings=dict(bindings), outputs=outputs, prefix="model."
    )


def _check_names(components: list[ComponentModule]) -> None:
    names = [component.name for component in components]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ProjectError(
            f"two components would be called {twice[0]!r}",
            where="[recipe]",
            hint='name the last one differently: rest = "..."',
        )


def _results_in_call_order(
    model: torch.nn.Module,
    names: tuple[str, ...],
    tensors: list[torch.Tensor],
    wanted: tuple[str, ...],
) -> dict[str, object]:
    """What each wanted submodule returns, in the order forward calls them, each exactly once."""
    modules = dict(model.named_modules())
    for path in wanted:
        if path not in modules or not path:
            raise ProjectError(
                f"the model has no submodule {path!r}",
                where="[recipe] components",
                hint=nearest(path, [name for name in modules if name]),
            )
    called: list[tuple[str, object]] = []
    with ExitStack() as stack:
        for path in wanted:
            hook = modules[path].register_forward_hook(
                lambda _module, _inputs, result, path=path: called.append((path, copied(result)))
            )
            stack.callback(hook.remove)
        with torch.no_grad():
            model(**dict(zip(names, tensors, strict=True)))
    for path in wanted:
        times = sum(path == name for name, _ in called)
        if times != 1:
            raise wrongly_called(path, times)
    return dict(called)


recipe = Submodules()
