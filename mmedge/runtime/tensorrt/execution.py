"""One execution context with its stream and its memory: a call from arrays to arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmedge.errors import BuildError, MmedgeError, ResourceError
from mmedge.runtime.device.protocol import Device
from mmedge.runtime.device.staging import Staging
from mmedge.runtime.tensorrt.captured import Captured
from mmedge.runtime.tensorrt.device_cache import DeviceCache
from mmedge.runtime.tensorrt.interface import Interface
from mmedge.runtime.tensorrt.library import TensorRT
from mmedge.runtime.tensorrt.output_allocator import make_output_allocator
from mmedge.runtime.tensorrt.profiles import Shape, choose
from mmedge.tensors import Array


class Execution:
    """Runs an engine, one call at a time. All calls are made while its device is active."""

    def __init__(
        self,
        library: TensorRT,
        engine: Any,
        interface: Interface,
        *,
        device: Device,
        component: str,
        cuda_graph: bool,
    ) -> None:
        self._library, self._interface, self._device = library, interface, device
        self._component = component
        self._context = engine.create_execution_context()
        if self._context is None:
            raise self._failure("TensorRT makes no execution context of", error=ResourceError)
        self.stream = device.stream()
        self._profile = 0  # as every context begins
        self._captured = Captured(device) if cuda_graph else None
        self._dtypes = {spec.name: spec.dtype for spec in (*interface.inputs, *interface.outputs)}
        self._staging = {name: Staging(device) for name in self._dtypes}
        self._on_host: dict[str, Array] = {}
        self._allocators: dict[str, Any] = {}

    def run(self, feeds: Mapping[str, Array], cache: DeviceCache | None = None) -> dict[str, Array]:
        """The outputs by name, less those that are written into `cache`.

        feeds: the inputs that are not in the cache; of the right dtypes and ranks.
        """
        kept = {} if cache is None else cache.shapes
        shapes = {name: array.shape for name, array in feeds.items()} | kept
        self._select(shapes)
        addresses = {name: self._write(name, array) for name, array in feeds.items()}
        # Shapes may be computed from values, so these come before shapes are asked for.
        self._bind(addresses)
        results = self._infer_shapes()
        shared = {} if cache is None else cache.addresses(self._of_cache(results, cache))
        owned = self._place_outputs({n: s for n, s in results.items() if n not in shared})
        self._bind(shared | owned)
        self._enqueue(shapes, (*addresses.items(), *shared.items(), *owned.items()))
        outputs = self._collect({n: s for n, s in results.items() if n not in shared})
        if cache is not None:
            cache.advance({name: results[name] for name in cache.outputs})
        return outputs

    def close(self) -> None:
        """Give back its context, stream and memory."""
        if self._captured is not None:
            self._captured.forget()
        self._context = None
        for staging in self._staging.values():
            staging.free()
        self.stream.close()

    def _select(self, shapes: Mapping[str, Shape]) -> None:
        """Make the context ready for inputs of these shapes."""
        profile = choose(self._interface.profiles, shapes, component=self._component)
        if profile != self._profile:
            if self._captured is not None:
                self._captured.forget()
            if not self._context.set_optimization_profile_async(profile, self.stream.handle):
                raise self._failure(f"profile {profile} cannot be selected in")
            self.stream.synchronize()
            self._profile = profile
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise self._failure(f"input {name!r} of shape {list(shape)} was refused by")

    def _write(self, name: str, array: Array) -> int:
        """Where the engine finds the input."""
        if name not in self._interface.on_host:
            return self._staging[name].write(array, self.stream)
        return self._host_address(name, array.shape, array)

    def _host_address(self, name: str, shape: Shape, array: Array | None = None) -> int:
        """Room on the host, kept until the next call; never of no bytes, which has no address."""
        room = np.zeros(max(1, math.prod(shape)), self._dtypes[name])
        if array is not None:
            room[: array.size] = array.reshape(-1)
        self._on_host[name] = room
        return int(room.ctypes.data)

    def _bind(self, addresses: Mapping[str, int]) -> None:
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise self._failure(f"the memory of {name!r} was refused by")

    def _infer_shapes(self) -> dict[str, Shape]:
        """Of each output; -1 along an axis that is known only after the call."""
        missing = self._context.infer_shapes()
        if missing:
            raise self._failure(f"the shapes of {', '.join(missing)} do not follow in")
        names = [spec.name for spec in self._interface.outputs]
        return {n: tuple(int(size) for size in self._context.get_tensor_shape(n)) for n in names}

    def _of_cache(self, shapes: Mapping[str, Shape], cache: DeviceCache) -> dict[str, Shape]:
        found = {name: shapes[name] for name in cache.outputs}
        for name, shape in found.items():
            if min(shape, default=0) < 0:
                raise BuildError(
                    f"{name!r} of component {self._component!r} cannot be a cache",
                    found=f"a shape that depends on values: {list(shape)}",
                )
        return found

    def _place_outputs(self, shapes: Mapping[str, Shape]) -> dict[str, int]:
        """Addresses of the outputs whose size is known; the others get an allocator."""
        addresses = {}
        for name, shape in shapes.items():
            if min(shape, default=0) < 0:
                self._context.set_output_allocator(name, self._allocator(name))
            elif name in self._interface.on_host:
                addresses[name] = self._host_address(name, shape)
            else:
                addresses[name] = self._staging[name].address(self._size(name, shape))
        return addresses

    def _allocator(self, name: str) -> Any:
        if name not in self._allocators:
            module = self._library.module
            self._allocators[name] = make_output_allocator(module, self._staging[name])
        return self._allocators[name]

    def _enqueue(self, shapes: Mapping[str, Shape], addresses: tuple[tuple[str, int], ...]) -> None:
        self._library.logger.kept.clear()
        # A graph keeps the values that shapes follow from, and cannot ask for memory.
        if self._captured is None or self._allocators or self._on_host:
            self._execute()
            return
        key = (self._profile, tuple(shapes.items()))
        self._captured.run(self._execute, self.stream, shapes=key, addresses=addresses)

    def _execute(self) -> None:
        done = self._context.execute_async_v3(self.stream.handle)
        for allocator in self._allocators.values():
            failure, allocator.failure = allocator.failure, None
            if failure is not None:
                raise failure
        if not done:
            raise self._failure("TensorRT failed in")

    def _collect(self, shapes: Mapping[str, Shape]) -> dict[str, Array]:
        """The outputs, copied to arrays that are the caller's."""
        if any(min(shape, default=0) < 0 for shape in shapes.values()):
            self.stream.synchronize()  # until then nobody has told their shapes
        known = {
            name: self._allocators[name].shape if min(shape, default=0) < 0 else shape
            for name, shape in shapes.items()
        }
        for name, shape in known.items():
            if name not in self._interface.on_host:
                self._staging[name].fetch(self._size(name, shape), self.stream)
        self.stream.synchronize()
        return {name: self._read(name, shape) for name, shape in known.items()}

    def _read(self, name: str, shape: Shape) -> Array:
        if name in self._interface.on_host:
            return self._on_host[name][: math.prod(shape)].reshape(shape).copy()
        return self._staging[name].read(shape, self._dtypes[name])

    def _size(self, name: str, shape: Shape) -> int:
        return math.prod(shape) * np.dtype(self._dtypes[name]).itemsize

    def _failure(self, what: str, *, error: type[MmedgeError] = MmedgeError) -> MmedgeError:
        said = self._library.logger.kept.errors()
        return error(
            f"{what} component {self._component!r}",
            found="\n".join(said) or "no reason given",
            where=f"{self._library.name} {self._library.version}",
        )
