"""A model and a project to split it by, without any file but mmedge.toml's content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from mmedge.project import Project, project_from_mapping
from mmedge.recipes import Recipe, Split, load_recipe

torch.set_num_threads(1)


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """`make_project({"x": ["batch", 3]}, ...)`: inputs by shape, then tables of mmedge.toml."""

    def make(shapes: dict[str, Any], **tables: Any) -> Project:
        inputs = {name: {"shape": shape} for name, shape in shapes.items()}
        return project_from_mapping(tmp_path, {"name": "tiny", "inputs": inputs, **tables})

    return make


@pytest.fixture
def split_model(make_project: Callable[..., Project]) -> Callable[..., Split]:
    """`split_model(model, example, name="submodules", ...options of [recipe])`."""

    def split(
        model: torch.nn.Module,
        example: dict[str, torch.Tensor],
        name: str = "submodules",
        tables: Mapping[str, Any] = {},
        **options: Any,
    ) -> Split:
        shapes = {key: ["batch", *tensor.shape[1:]] for key, tensor in example.items()}
        recipe: Recipe = load_recipe(name)
        return recipe.split(model.eval(), make_project(shapes, **tables), options, example)

    return split
