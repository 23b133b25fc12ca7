"""Building the user's model with the factory their project names; their errors, with their line."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from mmedge.errors import MmedgeError, ProjectError
from mmedge.optional import require
from mmedge.project import PROJECT_FILE, Project
from mmedge.project_modules import user_line

if TYPE_CHECKING:
    import torch


def build_model(project: Project) -> torch.nn.Module:
    """The model without trained weights, as `[model] factory` with `arguments` makes it.

    Raises ProjectError, with the file and line of the user's code, where the factory raises or
    returns something that is not a torch.nn.Module.
    """
    module_class = require("torch.nn").Module
    table = project.file.model
    if not table.factory:
        raise ProjectError(
            "the checkpoint holds weights only: the project has to say how to build the model",
            expected='[model] factory = "module:function"',
            where=project.directory / PROJECT_FILE,
            hint="or give a torch.export program (.pt2), which brings its own model",
        )
    factory = project.load_callable(table.factory)
    try:
        with project.importable():
            model = factory(**table.arguments)
    except MmedgeError:
        raise
    except Exception as error:
        raise _raised(project, factory, error) from error
    if not isinstance(model, module_class):
        raise ProjectError(
            f"the factory {table.factory!r} did not return a model",
            found=f"{type(model).__module__}.{type(model).__qualname__}",
            expected="a torch.nn.Module",
            where=project.directory / PROJECT_FILE,
        )
    built: torch.nn.Module = model
    return built


def _raised(project: Project, factory: Any, error: Exception) -> ProjectError:
    return ProjectError(
        f"the factory {project.file.model.factory!r} raised {type(error).__name__}",
        found=error,
        expected=f"{project.file.model.factory}{_signature(factory)} returns a model",
        where=user_line(project.directory, error) or project.directory / PROJECT_FILE,
        hint="check [model] arguments",
    )


def _signature(factory: Any) -> str:
    try:
        return str(inspect.signature(factory))
    except (TypeError, ValueError):
        return "(...)"
