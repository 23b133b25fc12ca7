"""Every system: a project copied to a temporary directory, given weights, and compiled once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mmedge.pipeline import Compiled, compile_project
from mmedge.project import Project, load_project

SYSTEMS = Path(__file__).parent


@dataclass(frozen=True)
class System:
    """A compiled project, and the model as its user has it."""

    project: Project
    model: torch.nn.Module
    compiled: Compiled


@pytest.fixture(scope="session")
def compile_system(
    compile_afresh: Callable[..., System], shared_cache: Path
) -> Callable[..., System]:
    """As `compile_afresh`, once for each project, of which no other test exports it again."""
    return cache(partial(compile_afresh, kept=shared_cache))


@pytest.fixture(scope="session")
def compile_afresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., System]:
    """`compile_afresh("kind")` or `compile_afresh("kind", "other.toml")`."""
    torch.set_num_threads(1)

    def compile_one(kind: str, file: str = "mmedge.toml", *, kept: Path | None = None) -> System:
        directory = tmp_path_factory.mktemp(kind) / "project"
        shutil.copytree(SYSTEMS / kind, directory, ignore=shutil.ignore_patterns("__pycache__"))
        model = trained(load_project(directory))
        project = load_project(directory / file)
        weights = directory / project.file.model.weights
        if not weights.exists():
            SAVED[weights.name](model, weights, project)
        compiled = compile_project(
            directory / file,
            output=directory.parent / "out.mmedge",
            cache=kept or directory.parent / "cache",
            threads=1,
            measure_seconds=0,
            debug=True,
        )
        return System(project, model, compiled)

    return compile_one


def trained(project: Project) -> torch.nn.Module:
    """The model of the project's factory, as if it had been trained."""
    torch.manual_seed(0)
    make = project.load_callable(project.file.model.factory)
    model: torch.nn.Module = make(**project.file.model.arguments)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0.0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    weights = project.directory / project.file.model.weights
    if weights.exists():
        model.load_state_dict(safetensors.torch.load_file(weights))
    return model.eval()


def save_state_dict(model: torch.nn.Module, path: Path, _project: Project) -> None:
    torch.save(model.state_dict(), path)


def save_training_checkpoint(model: torch.nn.Module, path: Path, _project: Project) -> None:
    torch.save({"state_dict": model.state_dict(), "epoch": 12}, path)


def save_safetensors(model: torch.nn.Module, path: Path, _project: Project) -> None:
    safetensors.torch.save_file(model.state_dict(), path)


def save_exported(model: torch.nn.Module, path: Path, project: Project) -> None:
    inputs, shapes = {}, {}
    for name, table in project.file.inputs.items():
        dims = [dim if isinstance(dim, int) else 2 for dim in table.shape]
        inputs[name] = torch.ones(dims, dtype=getattr(torch, table.dtype))
        shapes[name] = {
            i: torch.export.Dim(dim, min=1, max=project.axes()[dim].max)
            for i, dim in enumerate(table.shape)
            if isinstance(dim, str)
        }
    program = torch.export.export(model, (), inputs, dynamic_shapes=shapes)
    torch.export.save(program, path)


SAVED = {
    "state_dict.pt": save_state_dict,
    "checkpoint.pt": save_training_checkpoint,
    "model.safetensors": save_safetensors,
    "model.pt2": save_exported,
}
