"""The engines of a bundle, open on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from mmedge.errors import BundleError, MissingDependencyError
from mmedge.runtime.kv_cache import RunDecoder
from mmedge.runtime.manifest import Engine, Manifest
from mmedge.runtime.runner import Binding, Runner, open_engine
from mmedge.tensors import Array


class OpenEngines:
    """For each component the best engine that this machine can run.

    chosen, load_ms: the engine, and how long it took to open, by component.
    """

    def __init__(self, directory: Path, manifest: Manifest, *, threads: int | None) -> None:
        self.chosen: dict[str, Engine] = {}
        self.load_ms: dict[str, float] = {}
        self._directory = directory
        self._runners: dict[str, Runner] = {}
        self._stack = ExitStack()
        with ExitStack() as opening:
            opening.callback(self.close)
            for component in manifest.wiring.components:
                self._open(component.name, manifest.engines[component.name], threads)
            opening.pop_all()

    def run(self, name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run one component on its own inputs."""
        return self._runner(name).infer(feeds)

    def bind(
        self, component: str, cache: Mapping[str, str], buffers: Mapping[str, Array]
    ) -> RunDecoder | None:
        """A run of the component on buffers that stay in place, if its engine can."""
        runner = self._runner(component)
        return runner.bound(cache, buffers) if isinstance(runner, Binding) else None

    def close(self) -> None:
        """Release every engine. Safe to call twice."""
        self._runners.clear()
        self._stack.close()

    def _runner(self, name: str) -> Runner:
        if name not in self._runners:
            raise BundleError("the bundle is closed", where=self._directory)
        return self._runners[name]

    def _open(self, name: str, engines: tuple[Engine, ...], threads: int | None) -> None:
        """Open the first engine of a component that this machine can run."""
        refused: list[MissingDependencyError] = []
        start = time.perf_counter()
        for engine in engines:
            path = self._directory / engine.file
            try:
                runner = open_engine(engine.kind, path, threads=threads, options=engine.options)
            except MissingDependencyError as error:
                refused.append(error)
                continue
            self._runners[name] = self._stack.enter_context(runner)
            self.chosen[name] = engine
            self.load_ms[name] = (time.perf_counter() - start) * 1e3
            return
        raise refused[0]  # the best engine's; every component has one at least
