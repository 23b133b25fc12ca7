"""Texts of other lengths, where a text holds a token for every feature of an image or a sound."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmedge.project import Project
from mmedge.recipes import Resize
from mmedge.tensors import Array
from mmedge.wiring import axis_size, resize_axis


def longer_text(project: Project, axis: str = "length") -> Resize:
    """A resize for a Split: more along `axis` is more of the text's last token, nothing else."""
    specs = [item.spec for item in project.model_inputs()]

    def resize(inputs: Mapping[str, Array], name: str, size: int) -> dict[str, Array]:
        if name != axis:
            return resize_axis(inputs, specs, axis=name, size=size)
        entries = np.minimum(np.arange(size), axis_size(inputs, specs, axis) - 1)
        resized = dict(inputs)
        for spec in specs:
            for position, dim in spec.dynamic_axes.items():
                if dim == axis and spec.name in resized:
                    resized[spec.name] = resized[spec.name].take(entries, position)
        return resized

    return resize
