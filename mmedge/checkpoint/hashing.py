"""Which files a checkpoint consists of, and their hash: without importing torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mmedge.checkpoint.adapters import adapter_files, base_directory
from mmedge.checkpoint.formats import Format, detect, find_index
from mmedge.checkpoint.header import shard_files
from mmedge.checkpoint.huggingface import read_config, weight_files
from mmedge.checkpoint.model_class import runs_code
from mmedge.errors import ProjectError
from mmedge.project import PROJECT_FILE, Project
from mmedge.storage import sha256_file


def checkpoint_path(project: Project) -> Path:
    """The checkpoint that the project names; ProjectError where it names none."""
    weights = project.file.model.weights
    if not weights:
        raise ProjectError(
            "the project names no checkpoint",
            expected='[model] weights = "..."',
            where=project.directory / PROJECT_FILE,
        )
    return project.path(weights)


def checkpoint_files(path: Path) -> tuple[Path, ...]:
    """Every file that decides which model the checkpoint at `path` is, in a fixed order."""
    format = detect(path)
    index = find_index(path)
    if format is Format.ADAPTER:
        return (*adapter_files(path), *checkpoint_files(base_directory(path)))
    if format is Format.HUGGING_FACE:
        config = [path / "config.json", path / "generation_config.json"]
        present = [file for file in config if file.is_file()]
        code = sorted(path.glob("*.py")) if runs_code(read_config(path)) else []
        return (*present, *code, *([index] if index else []), *weight_files(path))
    if format is Format.SHARDED_SAFETENSORS and index is not None:
        return (index, *shard_files(index))
    return (path,)


def checkpoint_hash(project: Project) -> str:
    """SHA-256 of the project's checkpoint, as hexadecimal.

    Of a single file it is the file's own, so that `sha256sum` shows the same; of several, that of
    the lines "HASH  NAME". Raises ProjectError where there is none, CheckpointError where a part
    of it is missing.
    """
    return hash_files(checkpoint_files(checkpoint_path(project)))


def hash_files(files: tuple[Path, ...]) -> str:
    """SHA-256 over `files`, streaming."""
    if len(files) == 1:
        return sha256_file(files[0])
    lines = [f"{sha256_file(file)}  {file.name}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
