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

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from mmedge.errors import ProjectError
from mmedge.project import Project
from mmedge.recipes import ComponentModule, Split, Tensors
from mmedge.strict import decode, nearest
from mmedge_export.reference import (
    forward_arguments,
    named_outputs,
    output_names,
    whole_model,
)
from mmedge_export.replaced_forward import replaced_forward


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of `[recipe]`.

    components: dotted paths of submodules, in the order forward calls them, each called once.
    rest: the name of the component that holds everything else.
    """

    components: tuple[str, ...]
    rest: str = "fusion"


class Cut:
    """A submodule at which forward is cut, and the structure of what it returns.

    taken: names that its outputs must not have.
    """

    def __init__(self, path: str, result: object, *, taken: Collection[str] = ()) -> None:
        self.path = path
        self.leaves, self.structure = tree_flatten(result)
        names = _leaf_names(path, len(self.leaves))
        self.outputs = tuple(free_name(name, taken) for name in names)
        self._check(self.leaves)

    def restore(self, tensors: tuple[torch.Tensor, ...]) -> object:
        """What the submodule returned, with `tensors` in the place of its own."""
        structure: TreeSpec = self.structure
        return tree_unflatten([tensor.clone() for tensor in tensors], structure)

    def _check(self, leaves: list[object]) -> None:
        others = [type(leaf).__name__ for leaf in leaves if not isinstance(leaf, torch.Tensor)]
        if others or not leaves:
            raise ProjectError(
                f"submodule {self.path!r} cannot be a component: it does not return tensors",
                found=", ".join(others) or "nothing",
                where="[recipe] components",
            )


class _Reached(Exception):  # noqa: N818 - it is control flow, not an error
    """Forward has come to the submodule that a slice ends with."""


class ForwardSlice(torch.nn.Module):
    """A slice of the user's forward.

    Called with the model's inputs and then the outputs of every cut, in order; returns what
    submodule `until` returns, or what forward returns where `until` is None, as a flat tuple.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        inputs: tuple[str, ...],
        cuts: tuple[Cut, ...],
        until: str | None,
    ) -> None:
        super().__init__()
        self.model = model
        self.inputs = inputs
        self.cuts = cuts
        self.until = until
        self.training = False

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Tensors as the class says, to a flat tuple of tensors."""
        return tuple(self.named(*tensors).values())

    def named(self, *tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        """As forward, with names."""
        arguments = dict(zip(self.inputs, tensors, strict=False))
        given = list(tensors[len(self.inputs) :])
        reached: list[list[torch.Tensor]] = []
        with ExitStack() as stack:
            for cut in self.cuts:
                values = tuple(given.pop(0) for _ in cut.outputs)
                stack.enter_context(_answered(self.model, cut, values))
            if self.until is not None:
                stack.enter_context(_recorded(self.model, self.until, reached))
            try:
                result = self.model(**arguments)
            except _Reached:
                result = None
        if self.until is None:
            return named_outputs(result)
        if len(reached) != 1:
            raise _called(self.until, len(reached))
        return dict(zip(_leaf_names(self.until, len(reached[0])), reached[0], strict=True))


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


def free_name(name: str, taken: Collection[str], suffix: str = "_out") -> str:
    """`name`, lengthened while it is taken: a graph's input and output cannot share a name."""
    while name in taken:
        name += suffix
    return name


def _check_names(components: list[ComponentModule]) -> None:
    names = [component.name for component in components]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ProjectError(
            f"two components would be called {twice[0]!r}",
            where="[recipe]",
            hint='name the last one differently: rest = "..."',
        )


def _leaf_names(path: str, count: int) -> tuple[str, ...]:
    """Names for what a submodule returns: "<path>_features", numbered where there are several."""
    stem = path.replace(".", "_").removesuffix("_encoder") + "_features"
    return (stem,) if count == 1 else tuple(f"{stem}_{i}" for i in range(count))


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
                lambda _module, _inputs, result, path=path: called.append((path, _copy(result)))
            )
            stack.callback(hook.remove)
        with torch.no_grad():
            model(**dict(zip(names, tensors, strict=True)))
    for path in wanted:
        times = sum(path == name for name, _ in called)
        if times != 1:
            raise _called(path, times)
    return dict(called)


def _called(path: str, times: int) -> ProjectError:
    return ProjectError(
        f"forward calls submodule {path!r} {times} times",
        expected="once",
        where="[recipe] components",
        hint="name a submodule that is called once, or leave it in the rest",
    )


def _copy(result: object) -> object:
    """The result in tensors and containers of its own: forward may go on to change them."""
    leaves, structure = tree_flatten(result)
    copies = [leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    return tree_unflatten(copies, structure)


@contextmanager
def _answered(model: torch.nn.Module, cut: Cut, values: tuple[torch.Tensor, ...]) -> Iterator[None]:
    """While active, the cut submodule answers every call with `values`."""
    module = model.get_submodule(cut.path)
    with replaced_forward(module, lambda *args, **kwargs: cut.restore(values)):
        yield


@contextmanager
def _recorded(model: torch.nn.Module, path: str, into: list[list[torch.Tensor]]) -> Iterator[None]:
    """While active, the tensors the submodule returns go into `into`, and forward ends there."""
    module = model.get_submodule(path)
    forward = module.forward

    def record(*args: object, **kwargs: object) -> object:
        result = forward(*args, **kwargs)
        into.append(tree_flatten(result)[0])
        if torch.compiler.is_exporting():
            # The tracer does not survive an exception: what follows is traced, and is dead code.
            return _copy(result)
        raise _Reached

    with replaced_forward(module, record):
        yield


recipe = Submodules()
