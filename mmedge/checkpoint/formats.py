"""What a checkpoint is, decided by its content: a file's extension proves nothing."""

from __future__ import annotations

import zipfile
from enum import Enum
from pathlib import Path, PurePosixPath

from mmedge.checkpoint.adapters import is_adapter
from mmedge.checkpoint.header import (
    INDEX_SUFFIX,
    looks_like_safetensors,
    safetensors_header,
    shard_index,
)
from mmedge.checkpoint.pickles import foreign_globals, wanted_globals
from mmedge.errors import CheckpointError


class Format(Enum):
    """A kind of checkpoint that mmedge reads; the value is how reports call it."""

    SAFETENSORS = "safetensors"
    SHARDED_SAFETENSORS = "sharded safetensors"
    TORCH_STATE_DICT = "torch.save state_dict"
    TORCH_OBJECTS = "torch.save with pickled objects"
    TORCH_LEGACY = "torch.save before PyTorch 1.6"
    EXPORTED_PROGRAM = "torch.export program"
    HUGGING_FACE = "Hugging Face directory"
    ADAPTER = "LoRA adapter directory"


ACCEPTED = (
    "safetensors (one file, or shards with an index), torch.save of a state_dict, "
    "torch.export.save (.pt2), or a Hugging Face directory (config.json and *.safetensors)"
)
# torch/serialization.py: MAGIC_NUMBER = 0x1950a86a20f9469cfc6c, pickled as LONG1.
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
    (b"GGUF", "a GGUF file, which holds quantized weights for llama.cpp"),
    (b"\x89HDF", "an HDF5 file (Keras)"),
    (b"\x08", "perhaps an ONNX file"),
    (b"\x80", "a pickle that torch.save did not write"),
    (b"\x1f\x8b", "a gzip file: unpack it first"),
    (b"<", "an HTML or XML page, often a failed download"),
)


def detect(path: Path) -> Format:
    """The format of the checkpoint at `path`, which is a file or a directory.

    Reads headers and the opcodes of pickles; executes and imports nothing. Raises CheckpointError
    for what is empty, truncated or foreign, saying what was found and what is accepted.
    """
    if path.is_dir():
        return _detect_directory(path)
    if not path.is_file():
        raise CheckpointError("there is no checkpoint", where=path, expected=ACCEPTED)
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"PK\x03\x04"):
        return _detect_zip(path)
    if _LEGACY_MAGIC in head[:20]:
        _legacy_globals(path)
        return Format.TORCH_LEGACY
    if looks_like_safetensors(head):
        safetensors_header(path)
        return Format.SAFETENSORS
    if path.name.endswith(INDEX_SUFFIX):
        shard_index(path)
        return Format.SHARDED_SAFETENSORS
    raise _foreign(path, head)


def find_index(path: Path) -> Path | None:
    """The shard index at or in `path`, if there is one."""
    if path.is_dir():
        return next(iter(sorted(path.glob(f"*{INDEX_SUFFIX}"))), None)
    return path if path.name.endswith(INDEX_SUFFIX) else None


def wanted_objects(path: Path) -> tuple[str, ...]:
    """Dotted names, beyond those of a plain state_dict, that loading `path` would import."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return foreign_globals(_zip_globals(path, archive))
    return foreign_globals(_legacy_globals(path))


def _detect_directory(path: Path) -> Format:
    if is_adapter(path):
        return Format.ADAPTER
    if (path / "config.json").is_file():
        return Format.HUGGING_FACE
    if find_index(path) is not None:
        return Format.SHARDED_SAFETENSORS
    names = sorted(entry.name for entry in path.iterdir())
    gguf = any(name.endswith(".gguf") for name in names)
    raise CheckpointError(
        "the directory is not a checkpoint",
        found=", ".join(names[:10]) or "an empty directory",
        expected=f"config.json or *{INDEX_SUFFIX} in it",
        where=path,
        hint="GGUF is quantized for llama.cpp: give mmedge the checkpoint that it was made from"
        if gguf
        else "name the checkpoint file itself",
    )


def _detect_zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {"/".join(PurePosixPath(n).parts[1:]) for n in archive.namelist()}
            if "archive_format" in members and "archive_version" in members:
                return Format.EXPORTED_PROGRAM
            if "serialized_exported_program.json" in archive.namelist():
                raise _refused(
                    path, "a torch.export archive of PyTorch 2.7 or older", "torch.export"
                )
            if "constants.pkl" in members:
                raise _refused(path, "a TorchScript archive", "torch.export")
            if "data.pkl" in members:
                foreign = foreign_globals(_zip_globals(path, archive))
                return Format.TORCH_OBJECTS if foreign else Format.TORCH_STATE_DICT
            raise _refused(path, f"a zip archive of {sorted(members)[:5]}", "torch.save")
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise _truncated(path, error) from error


def _zip_globals(path: Path, archive: zipfile.ZipFile) -> tuple[str, ...]:
    name = next(n for n in archive.namelist() if PurePosixPath(n).parts[1:] == ("data.pkl",))
    try:
        with archive.open(name) as stream:
            return wanted_globals(stream)  # type: ignore[arg-type]
    except (ValueError, zipfile.BadZipFile) as error:
        raise _truncated(path, error) from error


def _legacy_globals(path: Path) -> tuple[str, ...]:
    """Globals of magic number, protocol, system info, object and storage keys: five pickles."""
    found: dict[str, None] = {}
    try:
        with path.open("rb") as stream:
            for _ in range(5):
                found |= dict.fromkeys(wanted_globals(stream))
    except ValueError as error:
        raise _truncated(path, error) from error
    return tuple(found)


def _refused(path: Path, what: str, function: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint is {what}, which mmedge does not read",
        expected=ACCEPTED,
        where=path,
        hint=f"re-export the model with {function} in the PyTorch it was trained with",
    )


def _truncated(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        "the checkpoint is truncated or damaged",
        found=f"{path.stat().st_size} bytes; {error}",
        where=path,
        hint="copy or download the file again, and compare its size or checksum",
    )


def _foreign(path: Path, head: bytes) -> CheckpointError:
    size_bytes = path.stat().st_size
    what = next((text for magic, text in _FOREIGN if head.startswith(magic)), None)
    return CheckpointError(
        "the file is empty" if not head else "the file is not a checkpoint that mmedge reads",
        found=f"{size_bytes} bytes, starting with {head[:16]!r}" + (f" ({what})" if what else ""),
        expected=ACCEPTED,
        where=path,
    )
