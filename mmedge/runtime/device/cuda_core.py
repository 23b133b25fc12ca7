"""The GPU through cuda.core and cuda.bindings, NVIDIA's own Python packages (cuda-python 13)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mmedge.errors import MmedgeError, ResourceError
from mmedge.optional import require
from mmedge.runtime.device.gpu import Gpu
from mmedge.runtime.device.protocol import Event, Graph, Kind, Memory, Stream
from mmedge.tensors import Array


class CudaCoreDevice:
    """Streams and events are cuda.core's; memory and graphs are the driver's own.

    cuda.core's buffers stand on memory pools, which not every Jetson has, and its graphs on
    functions of newer drivers.
    """

    library = "cuda.core"

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self._driver: Any = require("cuda.bindings.driver")
        self._core: Any = require("cuda.core")
        self._device: Any = self._core.Device(0)
        self._device.set_current()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the primary context current; cuda.core leaves it so, which nesting does not mind."""
        self._device.set_current()
        yield

    def free_bytes(self) -> int:
        """How much of the GPU's memory is free."""
        free, _total = self._call("cuMemGetInfo")
        return int(free)

    def allocate(self, size_bytes: int, kind: Kind) -> Memory:
        """At least one byte. ResourceError where there is no room."""
        return _Memory(self, max(1, size_bytes), kind)

    def stream(self) -> Stream:
        """A new one, which does not wait for the default stream."""
        return _Stream(self._device.create_stream(options=self._core.StreamOptions()))

    def event(self) -> Event:
        """A new one, with timing."""
        options = self._core.EventOptions(timing_enabled=True)
        return _Event(self._device.create_event(options))

    def copy(self, target: Memory, source: Memory, *, size_bytes: int, stream: Stream) -> None:
        """The driver knows of each address whose it is."""
        self._call("cuMemcpyAsync", target.address, source.address, size_bytes, stream.handle)

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph | None:
        """What `work` puts on `stream`, as a graph."""
        modes = self._driver.CUstreamCaptureMode
        # Relaxed: what other threads allocate meanwhile is none of this graph's.
        self._call("cuStreamBeginCapture", stream.handle, modes.CU_STREAM_CAPTURE_MODE_RELAXED)
        try:
            work()
        finally:  # otherwise the stream stays in capture, and is lost
            (captured,) = self._call("cuStreamEndCapture", stream.handle)
        (graph,) = self._call("cuGraphInstantiate", captured, 0)
        self._call("cuGraphDestroy", captured)
        return _Graph(self, graph)

    def close(self) -> None:
        """The primary context is the process's, and stays."""

    def _call(self, function: str, *arguments: object) -> tuple[Any, ...]:
        """What a driver function returns, less its status."""
        status, *values = getattr(self._driver, function)(*arguments)
        if status == self._driver.CUresult.CUDA_SUCCESS:
            return tuple(values)
        if status == self._driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise ResourceError("the GPU has no memory left", found=f"{function}{arguments}")
        raise MmedgeError(f"CUDA failed in {function}", found=status.name)


class _Memory:
    def __init__(self, device: CudaCoreDevice, size_bytes: int, kind: Kind) -> None:
        self.kind, self.size_bytes = kind, size_bytes
        self.host: Array | None = None
        self._device, self._pointer = device, 0
        if kind == "device":
            (pointer,) = device._call("cuMemAlloc", size_bytes)
            self._pointer = self.address = int(pointer)
            return
        flags = device._driver.CU_MEMHOSTALLOC_DEVICEMAP if kind == "shared" else 0
        (pointer,) = device._call("cuMemHostAlloc", size_bytes, flags)
        self._pointer = self.address = int(pointer)
        self.host = _bytes_at(self._pointer, size_bytes)
        if kind == "shared":
            (mapped,) = device._call("cuMemHostGetDevicePointer", self._pointer, 0)
            self.address = int(mapped)

    def free(self) -> None:
        if self._pointer:
            function = "cuMemFree" if self.kind == "device" else "cuMemFreeHost"
            pointer, self._pointer, self.host = self._pointer, 0, None
            self._device._call(function, pointer)


class _Stream:
    def __init__(self, own: Any) -> None:
        self.own = own

    @property
    def handle(self) -> int:
        return int(self.own.handle)

    def synchronize(self) -> None:
        self.own.sync()

    def close(self) -> None:
        self.own.close()


class _Event:
    def __init__(self, own: Any) -> None:
        self.own = own

    def record(self, stream: Stream) -> None:
        assert isinstance(stream, _Stream)
        stream.own.record(self.own)

    def milliseconds_since(self, start: Event) -> float:
        assert isinstance(start, _Event)
        self.own.sync()
        return float(self.own - start.own)


class _Graph:
    def __init__(self, device: CudaCoreDevice, own: Any) -> None:
        self._device, self._own = device, own

    def launch(self, stream: Stream) -> None:
        self._device._call("cuGraphLaunch", self._own, stream.handle)

    def close(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            self._device._call("cuGraphExecDestroy", own)


def _bytes_at(address: int, size_bytes: int) -> Array:
    """The host's memory there, as an array that does not own it."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(address))
