"""A checkpoint in the precision it is computed in, on disk, so that it can be mapped.

A checkpoint in half precision doubles when it is loaded for a CPU. The doubled weights would be
memory that the system can't take back; in a file, written tensor by tensor, they are pages of
that file.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmedge.cache import MAKING
from mmedge.checkpoint.header import StoredTensor, stored_tensors
from mmedge.placing import place
from mmedge.storage import explained_os_errors
from mmedge.tensors import Array

COMPUTED = "float32"
# Header names of what becomes float32, and of float32 itself.
_NARROW = {"bfloat16": "<u2", "float16": "<f2", "float64": "<f8"}
_SAFETENSORS_NAMES = {
    "float32": "F32", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
# Values converted at once: 16 MiB of float32.
CHUNK = 1 << 22


def needs_widening(dtypes: Iterable[str]) -> bool:
    """Whether any of these dtypes is not the one that weights are computed in."""
    return any(dtype in _NARROW for dtype in dtypes)


def computed_bytes(tensor: StoredTensor) -> int:
    """The tensor's size once it is in the precision it is computed in."""
    narrow = tensor.entry.dtype in _NARROW
    return prod(tensor.entry.shape) * 4 if narrow else tensor.entry.size_bytes


@contextmanager
def working_copy(directory: Path, files: tuple[Path, ...], scratch: Path) -> Iterator[Path]:
    """Yield a directory like `directory` whose weight `files` are in float32.

    It is made in `scratch` and removed at the end of the block; what was mapped stays mapped.
    Raises OutputError where `scratch` is full or can't be written.
    """
    with explained_os_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=MAKING, dir=scratch))
    try:
        with explained_os_errors(scratch):
            for file in directory.glob("*.json"):
                shutil.copyfile(file, work / file.name)
            for file in files:
                _write(file, work / file.name)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(source: Path, target: Path) -> None:
    tensors = stored_tensors(source)
    if not any(tensor.entry.dtype in _NARROW for tensor in tensors):
        place(source, target)
        return
    with source.open("rb") as stream, target.open("wb") as out:
        out.write(_header(tensors))
        for tensor in tensors:
            stream.seek(tensor.offset)
            _copy_tensor(tensor, stream, out)


def _header(tensors: tuple[StoredTensor, ...]) -> bytes:
    """Header of a file with `tensors` in this order, padded so that the data are aligned."""
    described: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for tensor in tensors:
        entry, end = tensor.entry, begin + computed_bytes(tensor)
        dtype = COMPUTED if entry.dtype in _NARROW else entry.dtype
        described[entry.name] = {
            "dtype": _SAFETENSORS_NAMES.get(dtype, dtype),
            "shape": list(entry.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    raw = json.dumps(described).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


def _copy_tensor(tensor: StoredTensor, stream: BinaryIO, out: BinaryIO) -> None:
    narrow = _NARROW.get(tensor.entry.dtype)
    remaining = tensor.entry.size_bytes
    width = np.dtype(narrow).itemsize if narrow else 1
    while remaining:
        raw = stream.read(min(remaining, CHUNK * width))
        remaining -= len(raw)
        if narrow:
            raw = _widened(np.frombuffer(raw, narrow), tensor.entry.dtype).tobytes()
        out.write(raw)


def _widened(values: Array, dtype: str) -> Array:
    if dtype == "bfloat16":  # the upper half of a float32
        return (values.astype("<u4") << 16).view("<f4")
    return values.astype("<f4")
