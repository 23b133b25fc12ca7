"""A Device without a GPU: its memory is the host's, and its streams do at once what they are told.

Beyond what it must do it keeps count, so that tests can ask what is still held, and what was
copied; and what it is told of an address that is not its own is an error, as on a GPU.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from mmedge.errors import ResourceError
from mmedge.runtime.device.gpu import Gpu
from mmedge.runtime.device.protocol import Event, Graph, Kind, Memory, Stream
from mmedge.tensors import Array

GPU = Gpu("Host", "8.6", sm_count=28, memory_bytes=2**24, unified=False, cuda="13.0")


class HostDevice:
    """memory_bytes: of all that may be allocated at a time."""

    library = "host"

    def __init__(self, gpu: Gpu = GPU, *, graphs: bool = True) -> None:
        self.gpu, self._graphs = gpu, graphs
        self.held: dict[int, HostMemory] = {}
        self.copies: list[tuple[Kind, Kind, int]] = []
        self.allocations = self.launches = self.captures = self.depth = self.open_streams = 0
        self.closed = False
        self.capturing: list[Callable[[], None]] | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def free_bytes(self) -> int:
        return self.gpu.memory_bytes - sum(memory.size_bytes for memory in self.held.values())

    def allocate(self, size_bytes: int, kind: Kind) -> Memory:
        self._check_active()
        if size_bytes > self.free_bytes():
            raise ResourceError("the GPU has no memory left", found=f"{size_bytes} bytes")
        return HostMemory(self, max(1, size_bytes), kind)

    def stream(self) -> Stream:
        self._check_active()
        return HostStream(self)

    def event(self) -> Event:
        return HostEvent()

    def copy(self, target: Memory, source: Memory, *, size_bytes: int, stream: Stream) -> None:
        self._check_active()
        assert size_bytes <= min(target.size_bytes, source.size_bytes)
        self.enqueue(lambda: self._move(target, source, size_bytes))
        self.copies.append((source.kind, target.kind, size_bytes))

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph | None:
        if not self._graphs:
            return None
        self.capturing = []
        try:
            work()
        finally:
            captured, self.capturing = self.capturing, None
        self.captures += 1
        return HostGraph(self, captured)

    def enqueue(self, work: Callable[[], None]) -> None:
        """Kernels: done at once, or kept where a capture is on."""
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def close(self) -> None:
        self.closed = True

    def _move(self, target: Memory, source: Memory, size_bytes: int) -> None:
        ctypes.memmove(target.address, source.address, size_bytes)

    def _check_active(self) -> None:
        assert self.depth > 0, "a CUDA call without a context"


class HostMemory:
    def __init__(self, device: HostDevice, size_bytes: int, kind: Kind) -> None:
        self.kind, self.size_bytes = kind, size_bytes
        # What was never written is not to look like zeros.
        self._bytes = np.full(size_bytes, 0xAB, "uint8")
        self.address = int(self._bytes.ctypes.data)
        self.host: Array | None = None if kind == "device" else self._bytes
        self._device = device
        device.held[id(self)] = self
        device.allocations += 1

    def free(self) -> None:
        self._device.held.pop(id(self), None)


class HostStream:
    handle = 1

    def __init__(self, device: HostDevice) -> None:
        self._device, self._open = device, True
        device.open_streams += 1

    def synchronize(self) -> None:
        assert self._device.capturing is None, "a captured stream cannot be waited for"

    def close(self) -> None:
        self._device.open_streams -= self._open
        self._open = False


class HostEvent:
    def __init__(self) -> None:
        self.seconds = 0.0

    def record(self, stream: Stream) -> None:
        self.seconds = time.perf_counter()

    def milliseconds_since(self, start: Event) -> float:
        assert isinstance(start, HostEvent)
        return (self.seconds - start.seconds) * 1e3


class HostGraph:
    def __init__(self, device: HostDevice, work: list[Callable[[], None]]) -> None:
        self._device, self._work = device, work

    def launch(self, stream: Stream) -> None:
        assert self._work, "the graph was closed, or captured nothing"
        self._device.launches += 1
        for step in self._work:
            step()

    def close(self) -> None:
        self._work = []
