"""The first bytes of a serialized engine: whose it is, of which version, for which GPUs.

Undocumented but for the version, which NVIDIA gave in an issue (NVIDIA/TensorRT#3073): four bytes
from offset 24. The rest was found by building one graph for every GPU and comparing the bytes
(tensorrt_rtx 1.7.1.116), and is read of TensorRT for RTX only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from mmedge.errors import BundleError

# As many bytes as IRuntime.engine_header_size says.
HEADER_BYTES = 64
MAGIC = {b"vtrt": "tensorrt_rtx", b"ftrt": "tensorrt", b"ptrt": "tensorrt"}
# 8.5 and older wrote "ptrt" at the front, and no version that could be read.
WITHOUT_VERSION = b"ptrt"
# Bits of the mask of compute capabilities; 64 is also set where none was named.
CAPABILITIES = {1: "7.5", 2: "8.0", 4: "8.6", 8: "8.9", 16: "12.0", 32: "12.1"}
# What files that are taken for engines are in truth.
OTHER_FILES = {
    b"PK\x03\x04": "a zip archive (a PyTorch checkpoint or .npz)",
    b"\x80\x02": "a Python pickle",
    b"\x08": "an ONNX graph, perhaps: mmedge compile makes engines from models",
    b"version https://git-lfs": "a Git LFS pointer: the file itself was not fetched",
    b"{": "JSON or safetensors",
}


@dataclass(frozen=True)
class Header:
    """What an engine says of itself.

    library: "tensorrt" or "tensorrt_rtx". version: four numbers; None where none is written.
    compute_capabilities: it was built for; None where the header of the library is not known.
    size_bytes: of the whole engine, as it was when written. weights_bytes: of them, the weights.
    """

    library: str
    version: str | None
    compute_capabilities: tuple[str, ...] | None = None
    size_bytes: int | None = None
    weights_bytes: int | None = None


def is_engine(path: Path) -> bool:
    """Whether the file begins as an engine does."""
    with path.open("rb") as stream:
        return stream.read(4) in MAGIC


def read_header(path: Path) -> Header:
    """The header of the file at `path`.

    Raises BundleError where it is no engine, or only a part of one.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as stream:
            data = stream.read(HEADER_BYTES)
    except OSError as error:
        raise BundleError(
            f"the engine file {path.name} cannot be read", found=error.strerror, where=path
        ) from error
    if not data:
        raise BundleError(f"{path.name} is empty", expected="an engine", where=path)
    if data[:4] not in MAGIC:
        raise BundleError(
            f"{path.name} is no engine of TensorRT",
            found=_kind_of(data),
            expected=f"a file that begins with {' or '.join(m.decode() for m in MAGIC)}",
            where=path,
        )
    if len(data) < HEADER_BYTES:
        raise _truncated(path, found=size_bytes, expected=f"{HEADER_BYTES} bytes at least")
    header = _decode(data)
    if header.size_bytes is not None and size_bytes < header.size_bytes:
        raise _truncated(path, found=size_bytes, expected=f"{header.size_bytes} bytes")
    _check_possible(header, path, size_bytes)
    return header


def _decode(data: bytes) -> Header:
    library = MAGIC[data[:4]]
    if data[:4] == WITHOUT_VERSION:
        return Header(library, None)
    version = ".".join(map(str, data[24:28]))
    if library != "tensorrt_rtx":
        return Header(library, version)
    (size_bytes,) = struct.unpack_from("<Q", data, 16)
    (mask,) = struct.unpack_from("<I", data, 32)
    (weights_bytes,) = struct.unpack_from("<Q", data, 56)
    capabilities = tuple(name for bit, name in CAPABILITIES.items() if mask & bit)
    return Header(library, version, capabilities, size_bytes, weights_bytes)


def _check_possible(header: Header, path: Path, size_bytes: int) -> None:
    """Raise BundleError for a header that no builder wrote."""
    major = None if header.version is None else int(header.version.split(".")[0])
    if major == 0:
        found, expected = f"version {header.version}", "a version of 1.0 or newer"
    elif header.weights_bytes is not None and header.weights_bytes > size_bytes:
        found = f"{header.weights_bytes} bytes of weights"
        expected = f"no more than the file has: {size_bytes}"
    else:
        return
    raise BundleError(
        f"{path.name} is damaged: its header says what cannot be",
        found=found,
        expected=expected,
        where=path,
        hint="copy it again, or build it again",
    )


def _kind_of(data: bytes) -> str:
    for start, name in OTHER_FILES.items():
        if data.startswith(start):
            return name
    return f"a file that begins with {data[:4]!r}"


def _truncated(path: Path, *, found: int, expected: str) -> BundleError:
    return BundleError(
        f"{path.name} is only a part of an engine: it was truncated",
        found=f"{found} bytes",
        expected=expected,
        where=path,
        hint="copy it again, or build it again",
    )
