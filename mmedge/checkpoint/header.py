"""What a safetensors file holds, from its header alone: no torch, no tensor is read.

The format: 8 bytes of little-endian header length, a JSON header, then the data. Source:
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmedge.errors import CheckpointError

INDEX_NAME = "model.safetensors.index.json"
INDEX_SUFFIX = ".safetensors.index.json"
# The reference implementation refuses longer headers.
MAX_HEADER_BYTES = 100_000_000
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a checkpoint, as its file describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


def looks_like_safetensors(head: bytes) -> bool:
    """Whether the first 9 bytes are a plausible header length and the start of a JSON object."""
    length = int.from_bytes(head[:8], "little")
    return len(head) >= 9 and head[8:9] == b"{" and 2 <= length <= MAX_HEADER_BYTES


@dataclass(frozen=True)
class StoredTensor:
    """One tensor and where its bytes begin in the file."""

    entry: TensorEntry
    offset: int


def safetensors_header(path: Path) -> tuple[TensorEntry, ...]:
    """Every tensor of one safetensors file; CheckpointError if it is damaged or truncated."""
    return tuple(stored.entry for stored in stored_tensors(path))


def stored_tensors(path: Path) -> tuple[StoredTensor, ...]:
    """As `safetensors_header`, with the place of each tensor's bytes."""
    size_bytes = path.stat().st_size
    with path.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        raw = stream.read(min(header_bytes, MAX_HEADER_BYTES))
    if len(raw) < header_bytes:
        raise _truncated(path, size_bytes, expected_bytes=8 + header_bytes)
    entries, data_bytes = _parse(path, raw)
    if size_bytes < 8 + header_bytes + data_bytes:
        raise _truncated(path, size_bytes, expected_bytes=8 + header_bytes + data_bytes)
    return tuple(StoredTensor(entry, 8 + header_bytes + begin) for entry, begin in entries)


def shard_index(index: Path) -> dict[str, str]:
    """Tensor name -> file name, from a `*.safetensors.index.json`."""
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            "the index of a sharded checkpoint is damaged",
            found=f"{type(error).__name__}: {error}",
            expected='a JSON object with "weight_map": {tensor name: file name}',
            where=index,
        ) from error


def shard_files(index: Path) -> tuple[Path, ...]:
    """The shards that `index` names, in order; CheckpointError lists those that are not there."""
    names = sorted(set(shard_index(index).values()))
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise CheckpointError(
            "the index names files outside its directory", found=", ".join(outside), where=index
        )
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(names)} shards of the checkpoint are missing",
            found=", ".join(missing),
            expected="every file named in the index, beside it",
            where=index,
            hint="download or copy the missing files",
        )
    return tuple(index.parent / name for name in names)


def check_index(index: Path) -> None:
    """CheckpointError unless every tensor that the index names is in the shard that it names."""
    promised = shard_index(index)
    held = {file.name: {e.name for e in safetensors_header(file)} for file in shard_files(index)}
    absent = [f"{name} in {file}" for name, file in promised.items() if name not in held[file]]
    if absent:
        more = f", and {len(absent) - 10} more" if len(absent) > 10 else ""
        raise CheckpointError(
            f"{len(absent)} tensors that the index promises are not in their shards",
            found=f"no {', '.join(sorted(absent)[:10])}{more}",
            expected="an index and shards of the same checkpoint",
            where=index,
            hint="copy or download index and shards again, all of one revision",
        )


def _parse(path: Path, raw: bytes) -> tuple[tuple[tuple[TensorEntry, int], ...], int]:
    try:
        header = json.loads(raw)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        places = [tuple(map(int, t["data_offsets"])) for t in tensors.values()]
        entries = [_entry(name, tensor) for name, tensor in tensors.items()]
        if not all(0 <= begin <= end for begin, end in places):
            raise ValueError("a tensor ends before it begins")
        located = tuple(zip(entries, (begin for begin, _ in places), strict=True))
        return located, max((end for _, end in places), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            "the header of the safetensors file is damaged",
            found=f"{type(error).__name__}: {error}",
            where=path,
            hint="copy or download the file again",
        ) from error


def _entry(name: str, tensor: dict[str, Any]) -> TensorEntry:
    begin, end = tensor["data_offsets"]
    dtype = DTYPES.get(tensor["dtype"], str(tensor["dtype"]))
    return TensorEntry(name, dtype, tuple(int(n) for n in tensor["shape"]), end - begin)


def _truncated(path: Path, size_bytes: int, *, expected_bytes: int) -> CheckpointError:
    return CheckpointError(
        "the safetensors file is truncated",
        found=f"{size_bytes} bytes",
        expected=f"{expected_bytes} bytes, from its header",
        where=path,
        hint="copy or download the file again",
    )
