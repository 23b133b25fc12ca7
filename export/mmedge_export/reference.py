"""Running the user's own model on named tensors, the way they run it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from mmedge.errors import ProjectError
from mmedge.project import Project
from mmedge.strict import nearest


def forward_arguments(model: torch.nn.Module, project: Project) -> tuple[str, ...]:
    """Names of the model's inputs in the order of its forward; ProjectError where they differ."""
    declared = tuple(project.file.inputs)
    parameters = inspect.signature(model.forward).parameters
    if any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
        return declared
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [name for name in declared if name not in parameters and not takes_any]
    required = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    missing = [name for name in required if name not in declared]
    if unknown or missing:
        raise ProjectError(
            f"[inputs] does not match {type(model).__name__}.forward",
            found=f"declared {', '.join(declared) or 'nothing'}",
            expected=f"forward({', '.join(parameters)})",
            hint=nearest((unknown or missing)[0], list(parameters)),
        )
    return declared


def named_outputs(result: object) -> dict[str, torch.Tensor]:
    """What a forward returned, by name: mappings keep their keys, the rest is numbered.

    A single tensor is called "output"; a tuple or list gives "output_0", "output_1", ..., and
    what is nested "output_1.x". None is left out, and so is the `past_key_values` of a Hugging
    Face model, which is no result. Raises ProjectError for anything else that is no tensor.
    """
    if isinstance(result, torch.Tensor):
        return {"output": result}
    items = _items(result)
    if items is None:
        raise _not_a_tensor("", result)
    return dict(_tensors(items, ""))


def _tensors(items: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in items.items():
        inner = _items(value)
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value
        elif inner is not None:
            yield from _tensors(inner, f"{prefix}{name}.")
        elif value is not None and name != "past_key_values":
            raise _not_a_tensor(f" as {prefix}{name}", value)


def _items(value: object) -> Mapping[str, Any] | None:
    """The parts of a mapping, named tuple, tuple or list by name; None for anything else."""
    if isinstance(value, Mapping):
        return {str(key): part for key, part in value.items()}
    if hasattr(value, "_asdict"):
        fields: Mapping[str, Any] = value._asdict()
        return fields
    if isinstance(value, (tuple, list)):
        return {f"output_{i}": part for i, part in enumerate(value)}
    return None


def _not_a_tensor(where: str, value: object) -> ProjectError:
    return ProjectError(
        f"forward returned something that is not a tensor{where}",
        found=f"{type(value).__name__}: {str(value)[:80]}",
        expected="a tensor, or a tuple, list or mapping of tensors",
        hint="return tensors only; leave out what is known without the model, such as sizes",
    )


def output_names(project: Project, produced: Iterable[str]) -> dict[str, str]:
    """Produced name -> public name. [outputs.NAME] tables rename unnamed outputs, in order."""
    return public_names(produced, project.file.outputs, table="[outputs]")


def public_names(produced: Iterable[str], declared: Iterable[str], *, table: str) -> dict[str, str]:
    """What forward returns -> what the project calls it: by name, or all of them by order.

    table: where the project declares the names, for the message of the ProjectError.
    """
    returned, wanted = list(produced), list(declared)
    if set(wanted) <= set(returned):
        return {name: name for name in returned}
    if len(wanted) != len(returned):
        raise ProjectError(
            f"{table} does not match what forward returns",
            found=f"forward returns {', '.join(returned)}",
            expected=f"one for each of {', '.join(wanted)}",
        )
    return dict(zip(returned, wanted, strict=True))


def whole_model(
    model: torch.nn.Module, project: Project, names: Mapping[str, str]
) -> Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """The user's forward as a function of named tensors.

    An absent optional input is passed as None, unless another input indicates its presence:
    then the model takes a tensor in any case, and gets zeros.
    """
    indicated = {table.indicates for table in project.file.inputs.values() if table.indicates}

    def run(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        arguments: dict[str, Any] = {}
        for name, table in project.file.inputs.items():
            if name in inputs:
                arguments[name] = inputs[name]
            elif table.indicates is not None:
                present = table.indicates in inputs
                arguments[name] = _filled(table.shape, table.dtype, inputs, project, int(present))
            elif name in indicated:
                arguments[name] = _filled(table.shape, table.dtype, inputs, project, 0)
            else:
                arguments[name] = None
        with torch.no_grad():
            produced = named_outputs(model(**arguments))
        return {names[key]: value for key, value in produced.items()}

    return run


def _filled(
    shape: tuple[int | str, ...],
    dtype: str,
    inputs: Mapping[str, torch.Tensor],
    project: Project,
    value: int,
) -> torch.Tensor:
    sizes: dict[str, int] = {}
    for name, tensor in inputs.items():
        for size, dim in zip(tensor.shape, project.file.inputs[name].shape, strict=True):
            if isinstance(dim, str):
                sizes[dim] = size
    axes = project.axes()
    dims = [d if isinstance(d, int) else sizes.get(d, max(1, axes[d].min)) for d in shape]
    return torch.full(dims, value, dtype=getattr(torch, dtype))
