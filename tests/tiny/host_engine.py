"""An engine without a GPU: TensorRT's interface, as far as a runner uses it, computed by numpy.

It reads and writes at the addresses it is given, and refuses what TensorRT refuses: shapes outside
the profile, memory that was not set, tensors whose shapes do not follow.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from host_device import HostDevice

from mmedge.runtime.tensorrt.library import TensorRT
from mmedge.runtime.tensorrt.log import make_logger
from mmedge.tensors import Array

Compute = Callable[[dict[str, Array]], dict[str, Array]]
Shape = tuple[int, ...]
TYPES = {
    "float32": "FLOAT", "float16": "HALF", "int8": "INT8", "int32": "INT32",
    "int64": "INT64", "uint8": "UINT8", "bool": "BOOL", "bfloat16": "BF16",
}  # fmt: skip


def host_library() -> TensorRT:
    """As `find_library` gives one."""
    module = SimpleNamespace(
        __name__="host",
        __version__="1.7.1.116",
        IOutputAllocator=type("IOutputAllocator", (), {}),
        ILogger=type("ILogger", (), {}),
    )
    # make_logger caches by module, and a SimpleNamespace has no hash.
    return TensorRT("tensorrt_rtx", module, make_logger.__wrapped__(module))


@dataclass
class Tensor:
    """One input or output. shape: -1 along a dynamic axis. location: "DEVICE" or "HOST"."""

    mode: str
    dtype: str
    shape: Shape
    location: str = "DEVICE"
    profiles: Sequence[tuple[Shape, Shape, Shape]] = ()


@dataclass
class HostEngine:
    """tensors: by name. compute: inputs to outputs. unknown: outputs whose shape values decide."""

    device: HostDevice
    tensors: Mapping[str, Tensor]
    compute: Compute
    profiles: int = 1
    unknown: frozenset[str] = frozenset()
    fails: str | None = None
    contexts: list[Any] = field(default_factory=list)
    library: TensorRT = field(default_factory=host_library)

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    @property
    def num_optimization_profiles(self) -> int:
        return self.profiles

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return SimpleNamespace(name=self.tensors[name].mode)

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=TYPES[self.tensors[name].dtype])

    def get_tensor_location(self, name: str) -> Any:
        return SimpleNamespace(name=self.tensors[name].location)

    def get_tensor_shape(self, name: str) -> Shape:
        return self.tensors[name].shape

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Shape]:
        return list(self.tensors[name].profiles[profile])

    def create_execution_context(self) -> HostContext:
        context = HostContext(self)
        self.contexts.append(context)
        return context


class HostContext:
    """profiles: every one that was selected, in order."""

    def __init__(self, engine: HostEngine) -> None:
        self.engine = engine
        self.profiles = [0]
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}
        self.results: dict[str, Array] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profiles.append(profile)
        self._shapes.clear()
        return True

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        tensor = self.engine.tensors[name]
        if tensor.profiles:
            low, _best, high = tensor.profiles[self.profiles[-1]]
            if not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
                return False
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address != 0

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        self._allocators[name] = allocator
        return True

    def infer_shapes(self) -> list[str]:
        missing = [name for name in self._of("INPUT") if name not in self._shapes]
        if not missing:
            self.results = self.engine.compute(self._given())
        return missing

    def get_tensor_shape(self, name: str) -> Shape:
        shape = self.results[name].shape
        return tuple(-1 for _ in shape) if name in self.engine.unknown else shape

    def execute_async_v3(self, stream: int) -> bool:
        if self.engine.fails:
            self.engine.library.logger.log(SimpleNamespace(name="ERROR"), self.engine.fails)
            return False
        wanted = dict(self._addresses)
        for name in self.engine.unknown:
            result, allocator = self.results[name], self._allocators[name]
            wanted[name] = allocator.reallocate_output_async(name, 0, result.nbytes, 256, stream)
            allocator.notify_shape(name, result.shape)
            if not wanted[name]:
                return False
        self._check_no_overlap(wanted)
        inputs, outputs = dict(self._shapes), self._of("OUTPUT")
        self.engine.device.enqueue(lambda: self._kernels(wanted, inputs, outputs))
        return True

    def _kernels(self, at: dict[str, int], shapes: dict[str, Shape], outputs: list[str]) -> None:
        given = {name: self._array(name, at[name], shape) for name, shape in shapes.items()}
        results = self.engine.compute({name: array.copy() for name, array in given.items()})
        for name in outputs:
            target = self._array(name, at[name], results[name].shape)
            target[...] = results[name]

    def _given(self) -> dict[str, Array]:
        """The inputs as they are; one that has no memory yet is made of zeros."""
        return {
            name: self._array(name, self._addresses[name], shape).copy()
            if name in self._addresses
            else np.zeros(shape, self.engine.tensors[name].dtype)
            for name, shape in self._shapes.items()
        }

    def _array(self, name: str, address: int, shape: Shape) -> Array:
        dtype = np.dtype(self.engine.tensors[name].dtype)
        size = math.prod(shape) * dtype.itemsize
        raw = (ctypes.c_uint8 * size).from_address(address)
        return np.frombuffer(raw, dtype, count=math.prod(shape)).reshape(shape)

    def _check_no_overlap(self, addresses: dict[str, int]) -> None:
        assert len(set(addresses.values())) == len(addresses), "two tensors share memory"

    def _of(self, mode: str) -> list[str]:
        return [name for name, tensor in self.engine.tensors.items() if tensor.mode == mode]
