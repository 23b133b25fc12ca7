"""The model project: a directory whose mmedge.toml says what a checkpoint can't."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from mmedge.errors import ProjectError
from mmedge.project_checks import checked_file
from mmedge.project_file import (
    MODALITIES,
    PROJECT_FILE,
    SCHEMA,
    ComponentTable,
    DataTable,
    InputTable,
    ModelTable,
    OutputTable,
    ProjectFile,
)
from mmedge.project_modules import import_from
from mmedge.runtime.processors import load_processor
from mmedge.sample_files import files_behind
from mmedge.storage import sha256_file
from mmedge.strict import nearest, read_toml
from mmedge.tensors import Axis, TensorSpec
from mmedge.wiring import ModelInput

__all__ = [
    "CHECKPOINT_CONFIG",
    "MODALITIES",
    "PROJECT_FILE",
    "SCHEMA",
    "ComponentTable",
    "DataTable",
    "InputTable",
    "ModelTable",
    "OutputTable",
    "Project",
    "ProjectFile",
    "load_project",
    "project_from_mapping",
]

# What makes a directory a Hugging Face checkpoint.
CHECKPOINT_CONFIG = "config.json"


class Project:
    """A project directory and its decoded file. Nothing is imported until it is asked for."""

    def __init__(
        self, directory: Path, file: ProjectFile, *, remarks: tuple[str, ...] = ()
    ) -> None:
        """remarks: what its user should be told, of a project that was proposed."""
        self.directory = directory
        self.file = file
        self.remarks = remarks

    @property
    def name(self) -> str:
        """What the project calls itself."""
        return self.file.name

    @property
    def processor_directory(self) -> Path:
        """Where the processor's files are: in the project, else in the checkpoint directory.

        (A project file may be written elsewhere than into somebody's checkpoint.)
        """
        own, checkpoint = self.directory, self.directory / self.file.model.weights
        options = self.file.processor
        names = load_processor(options, where="[processor]").files() if options else ()
        here = any((own / name).is_file() for name in (CHECKPOINT_CONFIG, *names))
        return own if here or not (checkpoint / CHECKPOINT_CONFIG).is_file() else checkpoint

    def path(self, relative: str) -> Path:
        """A file that the project names, or its processor; ProjectError if it is not there."""
        path = self.directory / relative
        if not path.exists() and self.file.processor:
            path = self.processor_directory / relative
        if not path.exists():
            raise ProjectError(
                f"{relative!r} is named in {PROJECT_FILE} and does not exist",
                where=self.directory / PROJECT_FILE,
                expected=self.directory / relative,
            )
        return path

    def model_inputs(self) -> tuple[ModelInput, ...]:
        """The declared inputs as the wiring states them."""
        return tuple(
            ModelInput(
                spec=TensorSpec(name, table.dtype, table.shape),
                modality=table.modality,
                optional=table.optional,
                indicates=table.indicates,
                preprocess=table.preprocess,
            )
            for name, table in self.file.inputs.items()
        )

    def axes(self) -> dict[str, Axis]:
        """Every named axis of the inputs, with its declared or default range."""
        named = [d for t in self.file.inputs.values() for d in t.shape if isinstance(d, str)]
        return {name: self.file.axes.get(name, Axis()) for name in dict.fromkeys(named)}

    def load_callable(self, reference: str) -> Callable[..., Any]:
        """The function that "module:function" names in the project directory."""
        module_name, _, attribute = reference.partition(":")
        if not module_name or not attribute:
            raise ProjectError(
                f"{reference!r} does not name a function",
                expected='"module:function"',
                where=self.directory / PROJECT_FILE,
            )
        with self.importable():
            module = import_from(self.directory, module_name)
        if not callable(getattr(module, attribute, None)):
            raise ProjectError(
                f"{module_name}.py has no function {attribute!r}",
                where=self.directory / f"{module_name}.py",
                hint=nearest(attribute, [n for n in vars(module) if not n.startswith("_")]),
            )
        function: Callable[..., Any] = getattr(module, attribute)
        return function

    def digest(self) -> str:
        """A hash over the decoded project file and every file of the project, links followed.

        Also over the checkpoint directory, where the processor's files are there.
        """
        found = hashlib.sha256(msgspec.json.encode(self.file, order="sorted"))
        for directory in dict.fromkeys((self.directory, self.processor_directory)):
            for path in sorted(_files(directory)):
                name = path.relative_to(directory)
                found.update(f"{name}\0{sha256_file(path)}\n".encode(errors="surrogateescape"))
        for sample in self.file.data.samples:
            for file in files_behind(self.path(sample)):
                found.update(sha256_file(file).encode())
        return found.hexdigest()

    @contextmanager
    def importable(self) -> Iterator[None]:
        """While active, modules of the project directory can import each other."""
        sys.path.insert(0, str(self.directory))
        try:
            yield
        finally:
            sys.path.remove(str(self.directory))


def load_project(path: Path) -> Project:
    """The project at `path`: a directory with mmedge.toml, or the file itself."""
    path = path.resolve()
    file = path if path.is_file() and path.suffix == ".toml" else path / PROJECT_FILE
    if not path.exists():
        raise ProjectError(f"{path} does not exist")
    if not file.is_file():
        raise ProjectError(
            f"{path} is not a model project",
            expected=f"a directory with {PROJECT_FILE}, or with config.json and weights as "
            "save_pretrained writes them",
            hint=f"mmedge init {path}  writes a first one by looking at the checkpoint",
        )
    return project_from_mapping(file.parent, read_toml(file), where=file)


def project_from_mapping(
    directory: Path, data: dict[str, Any], *, where: Path | None = None
) -> Project:
    """A project in `directory` from the content of its mmedge.toml, which is at `where`."""
    where = where or directory / PROJECT_FILE
    return Project(directory, checked_file(data, where=where))


def _files(directory: Path) -> Iterator[Path]:
    """Every file below `directory` but build outputs; each directory once, however linked."""
    seen: set[Path] = set()
    for root, directories, files in os.walk(directory, followlinks=True):
        real = Path(root).resolve()
        fresh = real not in seen
        seen.add(real)
        directories[:] = [n for n in sorted(directories) if fresh and not _is_build_output(n)]
        if fresh:
            paths = (Path(root, name) for name in files if not _is_build_output(name))
            yield from (path for path in paths if path.is_file())


def _is_build_output(part: str) -> bool:
    """Bytecode, hidden files and bundles inside a project are not part of it."""
    return part.startswith(".") or part == "__pycache__" or part.endswith(".mmedge")
