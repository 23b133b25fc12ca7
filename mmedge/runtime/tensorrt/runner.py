"""TensorRT and TensorRT for RTX as a Runner; what needs a GPU is `deserialise`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mmedge.errors import BuildError, BundleError, MmedgeError
from mmedge.runtime.device.protocol import Device
from mmedge.runtime.feeds import check_given
from mmedge.runtime.runner import Refusal
from mmedge.runtime.tensorrt import stamps
from mmedge.runtime.tensorrt.deserialise import deserialise
from mmedge.runtime.tensorrt.device_cache import DeviceCache
from mmedge.runtime.tensorrt.execution import Execution
from mmedge.runtime.tensorrt.header import read_header
from mmedge.runtime.tensorrt.interface import read_interface
from mmedge.runtime.tensorrt.library import TensorRT
from mmedge.strict import decode
from mmedge.tensors import Array, TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle may set: strings, as its manifest has them.

    library: which of the two the engine is of; None: as its header says.
    cuda_graph: whether calls that repeat their shapes are captured as CUDA graphs ("1").
    plugins: that the engine needs, "NAME:STAMP" with commas between them.
    """

    library: Literal["tensorrt", "tensorrt_rtx"] | None = None
    cuda_graph: Literal["0", "1"] = "0"
    plugins: str = ""


class TensorRTRunner:
    """An engine on a GPU, with one context and one stream of its own.

    Calls from several threads wait for each other: a second context would cost the activations'
    memory again, of which small boards have none to spare. Open the engine twice to run it twice.
    """

    def __init__(
        self,
        library: TensorRT,
        engine: Any,
        device: Device,
        *,
        component: str,
        cuda_graph: bool = False,
        owner: object = None,
    ) -> None:
        """owner: what must live as long as the engine (its IRuntime)."""
        self.name, self._owner = component, owner
        self._lock = threading.RLock()
        self._device, self._stack = device, ExitStack()
        self._engine: Any = engine
        with ExitStack() as opening, device.active():
            opening.callback(device.close)
            self._interface = read_interface(engine, component=component)
            self._execution = Execution(
                library,
                engine,
                self._interface,
                device=device,
                component=component,
                cuda_graph=cuda_graph,
            )
            opening.pop_all()
        self._caches: list[DeviceCache] = []

    @classmethod
    def open(cls, path: Path, *, threads: int | None, options: Mapping[str, str]) -> Self:
        """The engine file at `path`; its stem, up to a dot, is the component's name.

        threads: of the host; there is nothing that TensorRT would use them for.
        Raises BundleError for a file that is no whole engine, BuildError for one that is not for
        this machine, MissingDependencyError without library, driver, or one new enough.
        """
        decoded = decode(
            dict(options), Options, where=f"engine options of {path.name}", error=BuildError
        )
        header = read_header(path)
        if decoded.library not in (None, header.library):
            raise BundleError(
                f"{path.name} is an engine of another library than its bundle says",
                found=header.library,
                expected=decoded.library,
                where=path,
            )
        wanted = dict(item.split(":", 1) for item in decoded.plugins.split(",") if ":" in item)
        parts = deserialise(header, path, plugins=wanted)
        return cls(
            parts.library,
            parts.engine,
            parts.device,
            component=path.name.split(".")[0],
            cuda_graph=decoded.cuda_graph == "1",
            owner=parts.runtime,
        )

    @classmethod
    def refusal(cls, built_with: Mapping[str, str], *, path: Path | None = None) -> Refusal | None:
        """Why an engine with these stamps is not to be opened here."""
        return stamps.refusal(built_with, path=path)

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The engine's inputs, in order; a dynamic axis is "<tensor>.<position>"."""
        return self._interface.inputs

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The engine's outputs, in order."""
        return self._interface.outputs

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name.

        Raises InputError where a feed is missing, unknown, or fits no profile, MmedgeError where
        the runner is closed or TensorRT fails, ResourceError where the GPU has no memory left.
        """
        with self._running() as execution:
            check_given(feeds, self._interface.inputs, self.name)
            return execution.run(feeds)

    def bound(
        self, shared: Mapping[str, str], buffers: Mapping[str, Array]
    ) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        """`infer` on a cache that stays on the GPU, and may grow: see runner.GrowingBinding."""
        with self._running() as execution:
            self._drop_caches()  # a generation has one; the last one's is over
            cache = DeviceCache(self._device, shared, buffers, execution.stream)
            self._caches.append(cache)
        inputs = tuple(spec for spec in self._interface.inputs if spec.name not in shared)

        def infer(feeds: Mapping[str, Array]) -> dict[str, Array]:
            with self._running() as execution:
                if cache not in self._caches:
                    raise MmedgeError(f"component {self.name!r} was bound to another cache since")
                check_given(feeds, inputs, self.name)
                return execution.run(feeds, cache)

        return infer

    def grows(self) -> bool:
        """A cache that gets longer stays on the GPU, too."""
        return True

    def close(self) -> None:
        """Free all that the engine holds on the GPU; closing twice is harmless."""
        with self._lock:
            if self._engine is None:
                return
            with self._device.active():
                self._drop_caches()
                self._execution.close()
                self._engine = self._owner = None
            self._device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _running(self) -> Iterator[Execution]:
        with self._lock:
            if self._engine is None:
                raise MmedgeError(f"the engine of component {self.name!r} is closed")
            with self._device.active():
                yield self._execution

    def _drop_caches(self) -> None:
        while self._caches:
            self._caches.pop().free()
