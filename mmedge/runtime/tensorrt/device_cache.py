"""A decoder's cache that stays on the GPU: what one call writes is what the next one reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmedge.runtime.device.protocol import Device, Stream
from mmedge.runtime.device.staging import GrowingMemory
from mmedge.runtime.tensorrt.profiles import Shape
from mmedge.tensors import Array


@dataclass
class _Pair:
    """Two blocks that take turns: an engine may not write where it reads."""

    past: GrowingMemory
    present: GrowingMemory
    shape: Shape
    item_bytes: int


class DeviceCache:
    """shared: input -> the output that is its value at the next call, whatever its length."""

    def __init__(
        self,
        device: Device,
        shared: Mapping[str, str],
        buffers: Mapping[str, Array],
        stream: Stream,
    ) -> None:
        self._shared = dict(shared)
        self._pairs: dict[str, _Pair] = {}
        for name in shared:
            array = buffers[name]
            blocks = (GrowingMemory(device, "device"), GrowingMemory(device, "device"))
            self._pairs[name] = _Pair(*blocks, array.shape, array.itemsize)
            _upload(device, blocks[0], array, stream)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Of each input, as it is now."""
        return {name: pair.shape for name, pair in self._pairs.items()}

    @property
    def outputs(self) -> frozenset[str]:
        """Names of the outputs that are written here."""
        return frozenset(self._shared.values())

    def addresses(self, present: Mapping[str, Shape]) -> dict[str, int]:
        """Of each shared input and output in the next call; present: the outputs' shapes."""
        found: dict[str, int] = {}
        for taken, given in self._shared.items():
            pair = self._pairs[taken]
            found[taken] = pair.past.of(_size(pair.shape, pair.item_bytes)).address
            found[given] = pair.present.of(_size(present[given], pair.item_bytes)).address
        return found

    def advance(self, present: Mapping[str, Shape]) -> None:
        """What was written is now what is read."""
        for taken, given in self._shared.items():
            pair = self._pairs[taken]
            pair.past, pair.present = pair.present, pair.past
            pair.shape = present[given]

    def free(self) -> None:
        """Give its memory back; twice is harmless."""
        for pair in self._pairs.values():
            pair.past.free()
            pair.present.free()


def _upload(device: Device, memory: GrowingMemory, array: Array, stream: Stream) -> None:
    """Through pinned memory, which is given back at once: this is done once in a generation."""
    if not array.nbytes:
        return
    pinned = GrowingMemory(device, "pinned")
    near = pinned.of(array.nbytes)
    assert near.host is not None
    near.host[: array.nbytes] = np.ascontiguousarray(array).reshape(-1).view("uint8")
    device.copy(memory.of(array.nbytes), near, size_bytes=array.nbytes, stream=stream)
    stream.synchronize()
    pinned.free()


def _size(shape: Shape, item_bytes: int) -> int:
    return math.prod(shape) * item_bytes
