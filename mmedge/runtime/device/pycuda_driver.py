"""The GPU through pycuda, which JetPack's older CUDA has, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmedge.errors import ResourceError
from mmedge.optional import require
from mmedge.runtime.device.gpu import Gpu
from mmedge.runtime.device.protocol import Event, Graph, Kind, Memory, Stream
from mmedge.tensors import Array

# CU_STREAM_NON_BLOCKING of cuda.h, for which pycuda has no name.
NON_BLOCKING = 1


class PycudaDevice:
    """pycuda.driver on the primary context. It knows no graphs."""

    library = "pycuda"

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.cuda: Any = require("pycuda.driver")
        self.cuda.init()
        self._context: Any = self.cuda.Device(0).retain_primary_context()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Push the primary context, and pop it: pycuda keeps a stack for each thread."""
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def free_bytes(self) -> int:
        """How much of the GPU's memory is free."""
        free, _total = self.cuda.mem_get_info()
        return int(free)

    def allocate(self, size_bytes: int, kind: Kind) -> Memory:
        """At least one byte. ResourceError where there is no room."""
        try:
            return _Memory(self, max(1, size_bytes), kind)
        except self.cuda.MemoryError as error:
            raise ResourceError(
                "the GPU has no memory left", found=f"{size_bytes} bytes of {kind} memory: {error}"
            ) from error

    def stream(self) -> Stream:
        """A new one, which does not wait for the default stream."""
        return _Stream(self.cuda.Stream(NON_BLOCKING))

    def event(self) -> Event:
        """A new one, with timing, as pycuda's are by default."""
        return _Event(self.cuda.Event())

    def copy(self, target: Memory, source: Memory, *, size_bytes: int, stream: Stream) -> None:
        """pycuda wants to be told whose each side is."""
        assert isinstance(stream, _Stream)
        if source.kind == "pinned" and source.host is not None:
            bytes_ = source.host[:size_bytes]
            self.cuda.memcpy_htod_async(target.address, bytes_, stream.own)
        elif target.kind == "pinned" and target.host is not None:
            bytes_ = target.host[:size_bytes]
            self.cuda.memcpy_dtoh_async(bytes_, source.address, stream.own)
        else:
            self.cuda.memcpy_dtod_async(target.address, source.address, size_bytes, stream.own)

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph | None:
        """Pycuda exposes no CUDA graphs."""
        return None

    def close(self) -> None:
        """Let the primary context go; it stays while others hold it."""
        context, self._context = self._context, None
        if context is not None:
            context.detach()


class _Memory:
    def __init__(self, device: PycudaDevice, size_bytes: int, kind: Kind) -> None:
        self.kind, self.size_bytes = kind, size_bytes
        self.host: Array | None = None
        cuda = device.cuda
        if kind == "device":
            self._own: Any = cuda.mem_alloc(size_bytes)
            self.address = int(self._own)
            return
        flags = cuda.host_alloc_flags.DEVICEMAP if kind == "shared" else 0
        self.host = cuda.pagelocked_empty(size_bytes, "uint8", mem_flags=flags)
        self._own = self.host.base
        device_sees = kind == "shared"
        self.address = int(self._own.get_device_pointer() if device_sees else self.host.ctypes.data)

    def free(self) -> None:
        own, self._own, self.host = self._own, None, None
        if own is not None:
            own.free()


class _Stream:
    def __init__(self, own: Any) -> None:
        self.own = own

    @property
    def handle(self) -> int:
        return int(self.own.handle)

    def synchronize(self) -> None:
        self.own.synchronize()

    def close(self) -> None:
        """pycuda destroys it with the last reference, which the caller drops."""


class _Event:
    def __init__(self, own: Any) -> None:
        self.own = own

    def record(self, stream: Stream) -> None:
        assert isinstance(stream, _Stream)
        self.own.record(stream.own)

    def milliseconds_since(self, start: Event) -> float:
        assert isinstance(start, _Event)
        self.own.synchronize()
        return float(self.own.time_since(start.own))
