"""Reading torch.export archives: the JSON they declare, and the module they hold."""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mmedge.checkpoint.program_safety import MODEL, check_trusted
from mmedge.errors import CheckpointError
from mmedge.optional import require

if TYPE_CHECKING:
    import torch


def read_json(path: Path, member: str) -> Any:
    """The JSON member of the archive; CheckpointError where there is none or it is damaged."""
    try:
        return json.loads(_read(path, member))
    except ValueError as error:
        raise damaged_program(path, f"{member}: {error}") from error


def load_exported(path: Path, *, trust_pickle: bool = False) -> torch.nn.Module:
    """The exported program as a module, weights included, in inference mode.

    Its submodules have the paths of the original model's.

    Raises CheckpointError where it is damaged or was exported in training mode, and
    UntrustedPickleError where it needs code to be run and `trust_pickle` is not set.
    """
    if not trust_pickle:
        check_trusted(path, read_json(path, MODEL))
    load = require("torch.export").load
    try:
        with path.open("rb") as stream:
            program = load(stream)
        module = _with_submodules(program)
    except Exception as error:  # torch raises bare asserts, KeyError, RuntimeError ...
        raise damaged_program(path, f"{type(error).__name__}: {str(error)[:300]}") from error
    _check_inference(program, path)
    return _without_mode(module)


def _with_submodules(program: Any) -> torch.nn.Module:
    """The program as nested modules whose forward takes the arguments by name.

    An unflattened program keeps the original's hierarchy, but takes arguments only in the form
    in which it was exported.
    """
    signature = inspect.signature(program.module().forward)
    module: torch.nn.Module = require("torch.export").unflatten(program)
    positional = (
        len(program.example_inputs[0]) if program.example_inputs else len(signature.parameters)
    )
    call = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        values = signature.bind(*args, **kwargs).arguments
        names = list(values)
        given = [values[name] for name in names[:positional]]
        return call(*given, **{name: values[name] for name in names[positional:]})

    forward.__signature__ = signature  # type: ignore[attr-defined]
    vars(module)["forward"] = forward
    return module


def _check_inference(program: Any, path: Path) -> None:
    """Raise CheckpointError if dropout or batch normalisation were exported in training mode."""
    training = [
        node.name
        for node in program.graph.nodes
        for schema_argument, value in _named_arguments(node)
        if schema_argument in {"train", "training"} and value is True
    ]
    if training:
        raise CheckpointError(
            "the program was exported in training mode",
            found=", ".join(training[:20]),
            expected="no dropout or batch normalisation that is training",
            where=path,
            hint="model.eval() before torch.export.export(model, ...)",
        )


def _named_arguments(node: Any) -> Iterator[tuple[str, Any]]:
    schema = getattr(node.target, "_schema", None)
    if node.op == "call_function" and schema is not None:
        yield from zip((argument.name for argument in schema.arguments), node.args, strict=False)
        yield from node.kwargs.items()


def _without_mode(module: torch.nn.Module) -> torch.nn.Module:
    # torch puts an eval() that raises on the instance; with no training operator in the graph,
    # the class's own, which only sets a flag, is right.
    for name in ("eval", "train"):
        vars(module).pop(name, None)
    return module.eval()


def _read(path: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(
                n for n in archive.namelist() if "/".join(PurePosixPath(n).parts[1:]) == member
            )
            return archive.read(name)
    except (StopIteration, zipfile.BadZipFile, OSError) as error:
        raise damaged_program(path, f"no readable {member} in it: {error}") from error


def damaged_program(path: Path, found: str) -> CheckpointError:
    """The error for an archive that does not hold what it has to."""
    return CheckpointError(
        "the exported program is damaged, or of another PyTorch",
        found=found,
        expected=f"an archive of torch.export.save in PyTorch {require('torch').__version__}",
        where=path,
        hint="export the model again with this PyTorch",
    )
