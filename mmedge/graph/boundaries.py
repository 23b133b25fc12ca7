"""Which dimensions are dynamic at the boundary of every component: found by running the model.

The user names the dynamic axes of the model's inputs. What becomes of them inside (a sequence
halved by a convolution, a batch kept) is measured: each axis is resized in turn, and every
dimension that moves is dynamic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmedge.errors import ProjectError
from mmedge.recipes import Split, Tensors
from mmedge.tensors import Axis, TensorSpec
from mmedge.wiring import ModelInput, another_size, axis_size, resize_axis

if TYPE_CHECKING:
    import torch


def infer_boundaries(
    split: Split, inputs: tuple[ModelInput, ...], example: Tensors, axes: dict[str, Axis]
) -> dict[str, TensorSpec]:
    """The spec of every source, its dynamic dimensions named.

    A dimension that has an axis' size whenever the axis is resized gets the axis' name; one that
    moves otherwise gets a name of its own.
    """
    base = split.run(example)
    names: dict[tuple[str, int], str] = {}
    for axis in axes:
        size, resized = _resized(axis, inputs, example, axes[axis])
        try:
            moved = split.run(resized)
        except Exception as error:
            raise ProjectError(
                f"axis {axis!r} is declared dynamic, and the model fails when its size is {size}",
                found=f"{type(error).__name__}: {error}",
                where=f"[inputs], axis {axis!r}",
                hint=f"write the size instead of {axis!r} if the model takes only one",
            ) from error
        for source, tensor in base.items():
            _name_moved(names, source, (tensor.shape, moved[source].shape), (axis, size))
    return {source: _spec(source, tensor, names) for source, tensor in base.items()}


def _resized(
    axis: str, inputs: tuple[ModelInput, ...], example: Tensors, limits: Axis
) -> tuple[int, dict[str, torch.Tensor]]:
    """Another size for `axis`, and the example with that size."""
    import torch

    arrays = {name: tensor.numpy() for name, tensor in example.items()}
    specs = [item.spec for item in inputs]
    size = another_size(axis_size(arrays, specs, axis), limits)
    resized = resize_axis(arrays, specs, axis=axis, size=size)
    return size, {name: torch.from_numpy(array) for name, array in resized.items()}


def _name_moved(
    names: dict[tuple[str, int], str],
    source: str,
    shapes: tuple[torch.Size, torch.Size],
    axis: tuple[str, int],
) -> None:
    for position, (before, after) in enumerate(zip(*shapes, strict=True)):
        if before == after:
            continue
        follows = after == axis[1] and (source, position) not in names
        own = f"{source.replace('.', '_')}_{position}"
        names[source, position] = axis[0] if follows else own


def _spec(source: str, tensor: torch.Tensor, names: dict[tuple[str, int], str]) -> TensorSpec:
    shape = tuple(names.get((source, i), size) for i, size in enumerate(tensor.shape))
    return TensorSpec(source, str(tensor.dtype).removeprefix("torch."), shape)
