"""Importing the user's own modules, which other projects and libraries may have namesakes of."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from mmedge.errors import ProjectError


def import_from(directory: Path, name: str) -> ModuleType:
    """Import `name` from `directory`, even where another project's module has the same name.

    `directory` is the first on sys.path meanwhile. Raises ProjectError.
    """
    names = _names_in(directory)
    for loaded, module in list(sys.modules.items()):
        top = loaded.split(".")[0]
        if top not in names:  # thousands of modules: their files are not looked at
            continue
        file = getattr(module, "__file__", None)
        if file and _is_shadowed(directory, top, Path(file).resolve()):
            del sys.modules[loaded]
    importlib.invalidate_caches()
    where = directory / f"{name.replace('.', '/')}.py"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise ProjectError(
                f"{where.name} imports {error.name!r}, which is not installed",
                where=where,
                hint=f"pip install {error.name}",
            ) from error
        raise ProjectError(
            f"there is no module {name!r} in the project",
            expected=where,
            where=directory,
        ) from error
    except (Exception, SystemExit) as error:  # a script may call sys.exit when it is imported
        raise ProjectError(
            f"{where.name} could not be imported",
            found=f"{type(error).__name__}: {error}",
            where=where,
        ) from error


def user_line(directory: Path, error: BaseException) -> str | None:
    """file:line of the innermost frame of `error` in the project's own code, and that line."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        # A virtual environment may well lie inside the project.
        if path.is_relative_to(directory.resolve()) and "site-packages" not in path.parts:
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return None


def _names_in(directory: Path) -> set[str]:
    """What the project may have modules of."""
    if not directory.is_dir():
        return set()
    return {path.name.removesuffix(".py") for path in directory.iterdir()}


def _is_shadowed(directory: Path, name: str, file: Path) -> bool:
    """Whether the loaded module `name`, of `file`, hides one that the project has.

    A plain directory hides nothing installed, as for Python itself: a project may keep its data
    in a directory called "onnx". It does hide what another project had under that name.
    """
    if directory in file.parents:
        return False
    if (directory / f"{name}.py").is_file() or (directory / name / "__init__.py").is_file():
        return True
    installed = any(parent in file.parents for parent in map(Path, filter(None, sys.path)))
    return (directory / name).is_dir() and not installed
