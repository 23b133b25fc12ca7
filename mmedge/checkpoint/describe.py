"""Looking into a checkpoint: what it holds, and the first mmedge.toml for it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mmedge.checkpoint.adapters import base_directory, is_adapter
from mmedge.checkpoint.first_project import project_text
from mmedge.checkpoint.formats import Format, detect, find_index, wanted_objects
from mmedge.checkpoint.hashing import checkpoint_files
from mmedge.checkpoint.header import TensorEntry, safetensors_header, shard_files
from mmedge.checkpoint.huggingface import read_config, weight_files
from mmedge.checkpoint.huggingface_inputs import config_axes, config_inputs
from mmedge.checkpoint.program_summary import program_inputs, program_tensors
from mmedge.checkpoint.record import tensor_entries
from mmedge.checkpoint.summary import CheckpointSummary
from mmedge.checkpoint.weights import read_weights
from mmedge.errors import CheckpointError, OutputError
from mmedge.project import PROJECT_FILE
from mmedge.storage import atomic_file, check_directory_of

SUFFIXES = (".safetensors", ".pt2", ".pt", ".pth", ".ckpt", ".bin")


def describe(path: Path) -> CheckpointSummary:
    """Format, tensors and declared inputs of the checkpoint at `path`.

    No model is built and nothing is executed: of a file with pickled objects only their names
    are told. Raises CheckpointError where it is damaged, incomplete or foreign.
    """
    format = detect(path)
    if format is Format.ADAPTER:
        return _describe_adapter(path)
    size_bytes = sum(file.stat().st_size for file in checkpoint_files(path))
    if format is Format.EXPORTED_PROGRAM:
        inputs, axes = program_inputs(path)
        return CheckpointSummary(
            format, size_bytes, program_tensors(path), inputs=inputs, axes=axes
        )
    if format is Format.HUGGING_FACE:
        tensors = _by_name(t for file in weight_files(path) for t in safetensors_header(file))
        config = read_config(path)
        inputs = config_inputs(path, config)
        names = {dim for item in inputs for dim in item.shape}
        axes = {name: limits for name, limits in config_axes(config).items() if name in names}
        return CheckpointSummary(format, size_bytes, tensors, inputs=inputs, axes=axes)
    index = find_index(path)
    if format in {Format.SAFETENSORS, Format.SHARDED_SAFETENSORS}:
        files = (path,) if index is None else shard_files(index)
        tensors = _by_name(t for file in files for t in safetensors_header(file))
        return CheckpointSummary(format, size_bytes, tensors)
    return _describe_pickle(path, format, size_bytes)


def _describe_adapter(path: Path) -> CheckpointSummary:
    """The base model's summary: what is loaded is that, with the adapter merged."""
    base = base_directory(path)
    summary = describe(base)
    size_bytes = sum(file.stat().st_size for file in checkpoint_files(path))
    notes = (*summary.notes, f"a LoRA adapter, to be merged into {base}")
    return replace(summary, size_bytes=size_bytes, notes=notes)


def first_project_file(path: Path) -> str:
    """The text of a first mmedge.toml for a checkpoint file, or a directory that holds one.

    What is guessed is marked `# check`. Python files beside the checkpoint are parsed, never
    imported. Raises CheckpointError where there is no checkpoint or more than one.
    """
    checkpoint, directory = _locate(path.resolve())
    return _text(checkpoint, directory)


def write_project_file(
    path: Path, *, output: Path | None = None, force: bool = False
) -> tuple[Path, str]:
    """Write `first_project_file` and return where and what.

    output: the file, or an existing directory for mmedge.toml; without it, beside the checkpoint.
    Raises OutputError where the directory is not there, and where a file is there already and
    `force` is not set.
    """
    checkpoint, directory = _locate(path.resolve())
    target = project_file_at(output or directory, force=force)
    text = _text(checkpoint, target.parent)
    with atomic_file(target) as stream:
        stream.write(text.encode("utf-8"))
    return target, text


def project_file_at(place: Path, *, force: bool) -> Path:
    """Where a project file goes: `place`, or mmedge.toml in it.

    Raises OutputError where its directory is not there, and where a file is there already and
    `force` is not set.
    """
    target = place.resolve()
    if target.is_dir():
        target = target / PROJECT_FILE
    check_directory_of(target)
    if target.suffix != ".toml":
        raise OutputError(
            f"{target} is neither a .toml file nor a directory that exists",
            hint=f"mkdir {target}, or -o {target}.toml",
        )
    if target.exists() and not force:
        raise OutputError(
            f"{target} exists", hint="--force replaces it, -o writes the new one elsewhere"
        )
    return target


def _text(checkpoint: Path, directory: Path) -> str:
    weights = Path(os.path.relpath(checkpoint, directory)).as_posix()
    home = checkpoint if checkpoint.is_dir() else checkpoint.parent
    return project_text(
        describe(checkpoint),
        name=home.name or checkpoint.stem,
        directory=directory,
        weights=weights,
    )


def _by_name(tensors: Iterable[TensorEntry]) -> tuple[TensorEntry, ...]:
    """safetensors sorts by the width of the dtype; layer 10 comes after layer 2."""

    def parts(tensor: TensorEntry) -> list[tuple[int, str]]:
        return [(int(p), "") if p.isdecimal() else (-1, p) for p in tensor.name.split(".")]

    return tuple(sorted(tensors, key=parts))


def _describe_pickle(path: Path, format: Format, size_bytes: int) -> CheckpointSummary:
    objects = wanted_objects(path)
    if objects:
        note = "the tensors are not listed: reading them would execute code in the file"
        return CheckpointSummary(format, size_bytes, objects=objects, notes=(note,))
    weights = read_weights(path)
    return CheckpointSummary(
        format, size_bytes, tensor_entries(weights.tensors), notes=weights.notes
    )


def _locate(path: Path) -> tuple[Path, Path]:
    """The checkpoint at or in `path`, and the directory that becomes the project."""
    if not path.is_dir():
        return path, path.parent
    if (path / "config.json").is_file() or find_index(path) is not None or is_adapter(path):
        return path, path
    found = [file for file in sorted(path.iterdir()) if _is_checkpoint(file)]
    if len(found) != 1:
        raise CheckpointError(
            "there is no checkpoint in the directory" if not found else "which checkpoint?",
            found=", ".join(file.name for file in found) or None,
            expected=f"one file ({', '.join(SUFFIXES)}) that holds weights",
            where=path,
            hint=f"mmedge init {found[0] if found else path / 'weights.safetensors'}",
        )
    return found[0], path


def _is_checkpoint(file: Path) -> bool:
    if file.suffix not in SUFFIXES or not file.is_file():
        return False
    try:
        detect(file)
    except CheckpointError:
        return False
    return True
