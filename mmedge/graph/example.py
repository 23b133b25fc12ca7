"""The example that graphs are traced with: real samples, no size taken for a constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmedge.project import Project
from mmedge.recipes import Split, Tensors
from mmedge.stage import Workspace
from mmedge.wiring import axis_size, with_indicators

if TYPE_CHECKING:
    import torch

# Two examples: torch.export takes a size of 0 or 1 for a constant.
EXAMPLE_BATCH = 2


def example_tensors(workspace: Workspace) -> dict[str, torch.Tensor]:
    """A small batch of real samples as torch tensors, indicators set to present."""
    import torch

    items = workspace.project.model_inputs()
    arrays = with_indicators(items, workspace.calibration.first(_example_size(workspace)))
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}


def traceable(split: Split, example: Tensors, project: Project) -> dict[str, torch.Tensor]:
    """The example with every dynamic axis at least two long where it may be.

    torch.export takes a size of one for a constant, and equal sizes for one size: what is
    lengthened gets a size that no other axis has, while there is one.
    """
    import torch

    specs = [item.spec for item in project.model_inputs()]
    arrays = {name: tensor.numpy() for name, tensor in example.items()}
    sizes = {axis: axis_size(arrays, specs, axis) for axis in project.axes()}
    for axis, limits in project.axes().items():
        if sizes[axis] < 2 <= limits.max:
            allowed = range(-(-2 // limits.step) * limits.step, limits.max + 1, limits.step)
            free = (s for s in allowed if s >= limits.min and s not in sizes.values())
            sizes[axis] = next(free, limits.max)
            arrays = split.resized(arrays, specs, axis=axis, size=sizes[axis])
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}


def _example_size(workspace: Workspace) -> int:
    """How many samples to look at: within the leading axis' range, or its fixed size."""
    leading = workspace.project.model_inputs()[0].spec.shape[0]
    if isinstance(leading, int):
        return leading
    return max(EXAMPLE_BATCH, workspace.project.axes()[leading].min)
