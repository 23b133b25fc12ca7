"""The protocol every backend follows; `tests/backends/conformance.py` is its specification."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mmedge.artifact import EngineFile
from mmedge.engine_plan import BuildOptions, EnginePlan
from mmedge.errors import ProjectError
from mmedge.runtime.runner import Runner, open_engine
from mmedge.strict import nearest
from mmedge.targets import Target
from mmedge.wiring import ComponentSpec, Wiring

# Backend name, as a target's TOML says it -> where it is defined.
BACKENDS = {"onnxruntime": "mmedge.backends.onnxruntime:OnnxRuntimeBackend"}

# What proves a graph on this machine, and runs it where the target's own engine does not fit.
PORTABLE = "onnxruntime"
NATIVE_BACKENDS = {"tensorrt": "mmedge.backends.tensorrt.backend:TensorRTBackend"}


@dataclass(frozen=True)
class Engine:
    """A built engine, ready to be opened on this machine."""

    component: ComponentSpec
    file: EngineFile

    def open(self, *, threads: int | None = None) -> Runner:
        """A context-managed runner of this engine."""
        file = self.file
        return open_engine(file.kind, Path(file.path), threads=threads, options=file.options)


class Backend(Protocol):
    """Builds engines of one kind."""

    kind: str

    def build(
        self,
        component: ComponentSpec,
        graph: Path,
        *,
        target: Target,
        directory: Path,
        precision: str = "fp32",
        engines: int = 1,
    ) -> Engine:
        """The engine of `graph` for `target`, its files in `directory`.

        precision: what the graph computes in.
        engines: how many engines of this model will run in one process, this one included.
        Raises BuildError if the graph or the target can't be served; never falls back silently.
        """
        ...


class NativeBackend(Protocol):
    """Builds engines that belong to one kind of device; `Backend` engines prove the graph."""

    kind: str

    def check_target(self, target: Target, *, opset: int | None = None) -> None:
        """Raise ProjectError where no engine of the target could be built, whatever the graphs.

        opset: that graphs are going to have; None where they are there already.
        """
        ...

    def check(self, graphs: Mapping[str, Path], target: Target) -> None:
        """Raise BuildError with all that the target does not take, before anything is built."""
        ...

    def plans(
        self,
        wiring: Wiring,
        precisions: Mapping[str, str],
        *,
        target: Target,
        options: BuildOptions,
    ) -> dict[str, EnginePlan]:
        """How each component's engine is built, here or on the device.

        precisions: what each component's graph computes in.
        Raises BuildError where the sizes of an axis do not follow from the wiring.
        """
        ...

    def stamps(self, plan: EnginePlan, *, bundle: Path | None = None) -> dict[str, str]:
        """What an engine built by `plan` now would be tied to (`Engine.built_with`).

        bundle: whose plugins would be used.
        Raises MissingDependencyError without the library.
        """
        ...

    def builds_here(self, plan: EnginePlan) -> bool:
        """Whether the engine can be built on another machine than it runs on."""
        ...

    def build(
        self,
        component: ComponentSpec,
        graph: Path,
        *,
        plan: EnginePlan,
        directory: Path,
        progress: Callable[[str], None],
    ) -> EngineFile:
        """The engine of `graph` by `plan`, its file in `directory`.

        Raises MissingDependencyError without its library, BuildError where it refuses.
        """
        ...


def portable_backend(target: Target) -> Backend:
    """The backend of the engines that run here and on any machine; ProjectError if unknown."""
    return load_backend(PORTABLE if target.backend in NATIVE_BACKENDS else target.backend)


def native_backend(target: Target) -> NativeBackend | None:
    """The backend of the target's own engines; None where the portable ones are its own."""
    if target.backend not in NATIVE_BACKENDS:
        return None
    backend: NativeBackend = _load(NATIVE_BACKENDS[target.backend])
    return backend


def load_backend(name: str) -> Backend:
    """The backend called `name`; ProjectError lists the known ones."""
    if name not in BACKENDS:
        raise ProjectError(
            f"there is no backend {name!r}", hint=nearest(name, [*BACKENDS, *NATIVE_BACKENDS])
        )
    backend: Backend = _load(BACKENDS[name])
    return backend


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)()
