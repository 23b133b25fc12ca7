"""Which dimensions are dynamic at the boundary of every component: found by running the model.

The user names the dynamic axes of the model's inputs. What becomes of them inside (a sequence
halved by a convolution, a batch kept) is measured: each axis is resized in turn, and every
dimension that moves is dynamic. Dimensions that always have the same size are one axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmedge.errors import ProjectError
from mmedge.recipes import Split, Tensors
from mmedge.tensors import Array, Axis, Dim, TensorSpec
from mmedge.wiring import ModelInput, axis_size, other_sizes

if TYPE_CHECKING:
    import torch

# The sizes that a dimension had, one for each run of the model.
History = tuple[int, ...]


def infer_boundaries(
    split: Split, inputs: tuple[ModelInput, ...], example: Tensors, axes: dict[str, Axis]
) -> dict[str, TensorSpec]:
    """The spec of every source, its dynamic dimensions named.

    A dimension that has an axis' size in every run gets the axis' name; one that moves otherwise
    gets a name of its own, which it shares with those that have its size in every run.
    """
    base = split.run(example)
    specs = [item.spec for item in inputs]
    arrays = {name: tensor.numpy() for name, tensor in example.items()}
    sizes = {axis: axis_size(arrays, specs, axis) for axis in axes}
    runs = [(sizes, _shapes(base))]
    for axis, limits in axes.items():
        for size in other_sizes(sizes[axis], limits):
            resized = split.resized(arrays, specs, axis=axis, size=size)
            shapes = _run_resized(split, _tensors(resized), axis, size)
            runs.append(({**sizes, axis: size}, shapes))
    histories = {axis: tuple(now[axis] for now, _ in runs) for axis in axes}
    names = {history: axis for axis, history in histories.items() if len(set(history)) > 1}
    return {
        source: _spec(source, tensor, [shapes[source] for _, shapes in runs], names)
        for source, tensor in base.items()
    }


def _tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _shapes(values: Tensors) -> dict[str, tuple[int, ...]]:
    return {source: tuple(tensor.shape) for source, tensor in values.items()}


def _run_resized(
    split: Split, resized: Tensors, axis: str, size: int
) -> dict[str, tuple[int, ...]]:
    try:
        return _shapes(split.run(resized))
    except Exception as error:
        raise ProjectError(
            f"axis {axis!r} is declared dynamic, and the model fails when its size is {size}",
            found=f"{type(error).__name__}: {error}",
            where=f"[inputs], axis {axis!r}",
            hint=f"write the size instead of {axis!r} if the model takes only one,"
            f" or the sizes it takes in [axes] {axis}",
        ) from error


def _spec(
    source: str,
    tensor: torch.Tensor,
    shapes: list[tuple[int, ...]],
    names: dict[History, str],
) -> TensorSpec:
    """The spec of one source; a name that it has to invent is added to `names`."""
    if len({len(shape) for shape in shapes}) > 1:
        raise ProjectError(
            f"{source!r} has another number of dimensions when an axis is resized",
            found=", ".join(map(str, shapes)),
            hint="squeeze(dim) instead of squeeze() keeps the batch",
        )
    dims: list[Dim] = []
    for position, history in enumerate(zip(*shapes, strict=True)):
        own = f"{source.replace('.', '_')}_{position}"
        moves = len(set(history)) > 1
        dims.append(names.setdefault(history, own) if moves else history[0])
    return TensorSpec(source, str(tensor.dtype).removeprefix("torch."), tuple(dims))
