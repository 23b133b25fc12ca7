"""Memory that grows with what is put into it, and is kept for the next call."""

from __future__ import annotations

import math

import numpy as np

from mmedge.runtime.device.protocol import Device, Kind, Memory, Stream
from mmedge.tensors import Array

# A cache that gets longer at every call is not to be allocated anew at every call.
GROWTH = 1.5


class GrowingMemory:
    """A block of one kind, of the largest size that was asked for.

    Only to be grown while nothing runs that uses it: what it held is lost.
    """

    def __init__(self, device: Device, kind: Kind) -> None:
        self._device, self._kind = device, kind
        self._memory: Memory | None = None

    def of(self, size_bytes: int) -> Memory:
        """The block, with room for so many bytes, and for one at least: engines want an address."""
        if self._memory is not None and self._memory.size_bytes >= size_bytes:
            return self._memory
        before = 0 if self._memory is None else self._memory.size_bytes
        self.free()  # first: there may not be room for both
        wanted = max(1, size_bytes, math.ceil(before * GROWTH))
        self._memory = self._device.allocate(wanted, self._kind)
        return self._memory

    def free(self) -> None:
        """Give it back; it can be used again."""
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.free()


class Staging:
    """One tensor on its way between the host and the GPU.

    Where the two have one memory it lies still; otherwise it is copied through pinned memory, the
    only memory that can be copied from and to while the host does something else.
    """

    def __init__(self, device: Device) -> None:
        self._device, self._unified = device, device.gpu.unified
        self._near = GrowingMemory(device, "shared" if self._unified else "pinned")
        self._far = self._near if self._unified else GrowingMemory(device, "device")

    def address(self, size_bytes: int) -> int:
        """Where the GPU finds room for so many bytes."""
        return self._far.of(size_bytes).address

    def write(self, array: Array, stream: Stream) -> int:
        """Put `array` where the GPU finds it, at the address that is returned."""
        near = self._near.of(array.nbytes)
        assert near.host is not None
        near.host[: array.nbytes] = np.ascontiguousarray(array).reshape(-1).view("uint8")
        far = self._far.of(array.nbytes)
        if not self._unified and array.nbytes:
            self._device.copy(far, near, size_bytes=array.nbytes, stream=stream)
        return far.address

    def fetch(self, size_bytes: int, stream: Stream) -> None:
        """Begin to bring that many bytes to the host; `read` has them once `stream` is done."""
        if not self._unified and size_bytes:
            near, far = self._near.of(size_bytes), self._far.of(size_bytes)
            self._device.copy(near, far, size_bytes=size_bytes, stream=stream)

    def read(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A copy of what was fetched."""
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        host = self._near.of(size_bytes).host
        assert host is not None
        return host[:size_bytes].view(dtype).reshape(shape).copy()

    def free(self) -> None:
        """Give its memory back; it can be used again."""
        self._near.free()
        self._far.free()
