"""What a runner asks of a GPU; one small protocol, so that another CUDA library is one file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from mmedge.runtime.device.gpu import Gpu
from mmedge.tensors import Array

# device: the GPU's own. pinned: the host's, fit for asynchronous copies. shared: the host's, which
# the GPU reads and writes where it lies; without a copy where the two have one memory.
# Managed memory is not among them: on Jetson the CPU may not touch it while any kernel runs.
Kind = Literal["device", "pinned", "shared"]


class Memory(Protocol):
    """A block of memory."""

    @property
    def kind(self) -> Kind:
        """Whose it is."""
        ...

    @property
    def address(self) -> int:
        """Where the GPU finds it; of pinned memory, where the host does."""
        ...

    @property
    def size_bytes(self) -> int:
        """How much there is."""
        ...

    @property
    def host(self) -> Array | None:
        """Its bytes, uint8, as the host sees them; None where it does not."""
        ...

    def free(self) -> None:
        """Give it back; twice is harmless."""
        ...


class Stream(Protocol):
    """Work that is done in order."""

    @property
    def handle(self) -> int:
        """The cudaStream_t."""
        ...

    def synchronize(self) -> None:
        """Wait until all of it is done."""
        ...

    def close(self) -> None:
        """Give it back; twice is harmless."""
        ...


class Event(Protocol):
    """A moment on a stream."""

    def record(self, stream: Stream) -> None:
        """When all that was put on `stream` so far is done."""
        ...

    def milliseconds_since(self, start: Event) -> float:
        """From `start` to this one, which is waited for."""
        ...


class Graph(Protocol):
    """Work that was captured, to be launched at once."""

    def launch(self, stream: Stream) -> None:
        """Put it on `stream`."""
        ...

    def close(self) -> None:
        """Give it back; twice is harmless."""
        ...


class Device(Protocol):
    """One GPU, through one library. Its primary context is the one that TensorRT uses, too."""

    @property
    def library(self) -> str:
        """Import name of what it goes through."""
        ...

    @property
    def gpu(self) -> Gpu:
        """What it is."""
        ...

    def active(self) -> AbstractContextManager[object]:
        """A block in which this thread's CUDA calls are to this GPU; it may be nested."""
        ...

    def free_bytes(self) -> int:
        """How much of the GPU's memory is free."""
        ...

    def allocate(self, size_bytes: int, kind: Kind) -> Memory:
        """At least one byte. ResourceError where there is no room."""
        ...

    def stream(self) -> Stream:
        """A new one, which does not wait for the default stream."""
        ...

    def event(self) -> Event:
        """A new one, with timing."""
        ...

    def copy(self, target: Memory, source: Memory, *, size_bytes: int, stream: Stream) -> None:
        """Put a copy of the first bytes of `source` on `stream`; neither may be freed before."""
        ...

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph | None:
        """What `work` puts on `stream`, not done but captured; None if the library cannot.

        Nothing is captured, and the exception passes, where `work` raises.
        """
        ...

    def close(self) -> None:
        """Give back what the device itself holds; twice is harmless."""
        ...
