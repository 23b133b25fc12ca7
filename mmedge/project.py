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
from mmedge.project_modules import import_from
from mmedge.runtime.processors import load_processor
from mmedge.sample_files import files_behind
from mmedge.storage import sha256_file
from mmedge.strict import decode, nearest, read_toml
from mmedge.tensors import DTYPES, Axis, Dim, TensorSpec
from mmedge.wiring import ModelInput

PROJECT_FILE = "mmedge.toml"
# What makes a directory a Hugging Face checkpoint.
CHECKPOINT_CONFIG = "config.json"
SCHEMA = 1
MODALITIES = ("image", "text", "audio", "video", "tensor", "indicator")


class ModelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[model]: where the model comes from.

    factory: "module:function" in the project directory; called with `arguments`, returns the
        torch.nn.Module without trained weights. Not needed for .pt2 and Hugging Face checkpoints.
    weights: the checkpoint, relative to the project directory.
    """

    weights: str = ""
    factory: str = ""
    arguments: dict[str, Any] = {}


class InputTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[inputs.NAME]: one argument of the model's forward, in order."""

    shape: tuple[Dim, ...]
    dtype: str = "float32"
    modality: str = "tensor"
    preprocess: dict[str, Any] = {}
    optional: bool = False
    substitute: str = "zeros"
    indicates: str | None = None


class OutputTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[outputs.NAME]: what is known of an output; `labels` is a JSON list of class names."""

    labels: str | None = None


class ComponentTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[components.NAME]: a component of a project that wires itself, in order of execution.

    module: dotted path of the submodule that this component is.
    inputs: sources, in the order of the submodule's arguments.
    outputs: names of what it returns.
    """

    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    modality: str = "tensor"


class DataTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[data]: loaders ("module:function") of real samples, and the metric of the task.

    samples: files to verify with where there is a [processor] and no loader: images, sounds,
        texts, or JSON with whole examples.
    upstream: without a [processor], real samples are made into tensors by the processor class of
        transformers, which does not travel in the bundle.
    """

    calibration: str = ""
    evaluation: str = ""
    metric: str = ""
    samples: tuple[str, ...] = ()
    upstream: bool = False


class ProjectFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """mmedge.toml, decoded.

    processor: options of `mmedge.runtime.processors`, for models whose raw inputs are converted
        together; [inputs.NAME.preprocess] converts one by itself.
    """

    name: str
    schema: int = SCHEMA
    model: ModelTable = ModelTable()
    inputs: dict[str, InputTable] = {}
    outputs: dict[str, OutputTable] = {}
    recipe: dict[str, Any] = {}
    components: dict[str, ComponentTable] = {}
    wiring: dict[str, str] = {}
    axes: dict[str, Axis] = {}
    processor: dict[str, Any] = {}
    data: DataTable = DataTable()
    compile: dict[str, Any] = {}


class Project:
    """A project directory and its decoded file. Nothing is imported until it is asked for."""

    def __init__(self, directory: Path, file: ProjectFile) -> None:
        self.directory = directory
        self.file = file

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
    _check_schema(data.get("schema", SCHEMA), where)
    decoded = decode(data, ProjectFile, where=where)
    for name, table in decoded.inputs.items():
        _check_input(name, table, decoded, where)
    for name in decoded.axes:
        _check_axis(name, decoded, where)
    return Project(directory, decoded)


def _check_schema(schema: object, where: Path) -> None:
    """Before any key is looked at: a newer schema may well have keys that are unknown here."""
    if not isinstance(schema, int) or schema < 1:
        raise ProjectError("schema is not a version", found=schema, expected=SCHEMA, where=where)
    if schema > SCHEMA:
        raise ProjectError(
            f"{where.name} has a newer schema than this mmedge reads",
            found=schema,
            expected=f"at most {SCHEMA}",
            where=where,
            hint="pip install --upgrade mmedge",
        )


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


def _check_input(name: str, table: InputTable, file: ProjectFile, where: Path) -> None:
    if not name.isidentifier():
        raise ProjectError(f"[inputs.{name}] is not a Python argument name", where=where)
    if table.dtype not in DTYPES:
        raise ProjectError(
            f"[inputs.{name}] has an unknown dtype",
            found=table.dtype,
            where=where,
            hint=nearest(table.dtype, list(DTYPES)),
        )
    if table.modality not in MODALITIES:
        raise ProjectError(
            f"[inputs.{name}] has an unknown modality",
            found=table.modality,
            where=where,
            hint=nearest(table.modality, list(MODALITIES)),
        )
    if table.indicates is not None and table.indicates not in file.inputs:
        raise ProjectError(
            f"[inputs.{name}] indicates an input that is not declared",
            found=table.indicates,
            where=where,
            hint=nearest(table.indicates, list(file.inputs)),
        )
    if not table.shape:
        raise ProjectError(
            f"[inputs.{name}] has no axes: every input starts with the axis that counts examples",
            expected='a shape like ["batch"]',
            where=where,
        )
    bad = [dim for dim in table.shape if isinstance(dim, int) and dim < 1]
    if bad:
        raise ProjectError(
            f"[inputs.{name}] has a dimension below 1",
            found=list(table.shape),
            expected='sizes of at least 1, or axis names like "batch"',
            where=where,
        )


def _check_axis(name: str, file: ProjectFile, where: Path) -> None:
    axis = file.axes[name]
    if not 0 <= axis.min <= axis.opt <= axis.max:
        raise ProjectError(
            f"[axes] {name} is not ordered",
            found=f"min={axis.min}, opt={axis.opt}, max={axis.max}",
            expected="0 <= min <= opt <= max",
            where=where,
        )
    if axis.step < 1 or any(size % axis.step for size in (axis.min, axis.opt, axis.max)):
        raise ProjectError(
            f"[axes] {name} has sizes that are no multiples of its step",
            found=f"min={axis.min}, opt={axis.opt}, max={axis.max}, step={axis.step}",
            expected="a step of at least 1 that divides min, opt and max",
            where=where,
        )
    if axis.min == axis.max:
        raise ProjectError(
            f"[axes] {name} has one size only, so it is not dynamic",
            found=f"min={axis.min}, max={axis.max}",
            where=where,
            hint=f"write {axis.max} instead of {name!r} in the shapes of [inputs]",
        )
    used = {dim for table in file.inputs.values() for dim in table.shape if isinstance(dim, str)}
    if file.inputs and name not in used:
        raise ProjectError(
            f"[axes] {name} is in no input's shape", where=where, hint=nearest(name, sorted(used))
        )
