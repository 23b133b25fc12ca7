"""The protocol every backend follows; `tests/backends/conformance.py` is its specification."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mmedge.artifact import EngineFile
from mmedge.errors import ProjectError
from mmedge.runtime.runner import Runner, open_engine
from mmedge.strict import nearest
from mmedge.targets import Target
from mmedge.wiring import ComponentSpec

# Backend name, as a target's TOML says it -> where it is defined.
BACKENDS = {"onnxruntime": "mmedge.backends.onnxruntime:OnnxRuntimeBackend"}


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
        engines: int = 1,
    ) -> Engine:
        """The engine of `graph` for `target`, its files in `directory`.

        engines: how many engines of this model will run in one process, this one included.
        Raises BuildError if the graph or the target can't be served; never falls back silently.
        """
        ...


def load_backend(name: str) -> Backend:
    """The backend called `name`; ProjectError lists the known ones."""
    if name not in BACKENDS:
        raise ProjectError(f"there is no backend {name!r}", hint=nearest(name, list(BACKENDS)))
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)()
    return backend
