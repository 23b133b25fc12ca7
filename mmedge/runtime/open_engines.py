"""The engines of a bundle, open on this machine: of each component the best that it can run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec

from mmedge.errors import BundleError, MissingDependencyError, MmedgeError
from mmedge.runtime.kv_cache import RunDecoder
from mmedge.runtime.manifest import Engine, Manifest, damage_of, native_engines
from mmedge.runtime.runner import ENGINES, Binding, GrowingBinding, Runner, open_engine, refusal
from mmedge.tensors import Array


class PassedOver(msgspec.Struct, frozen=True):
    """An engine that is better than the one that was taken, and why it was not taken.

    hint: what would make it run here, where that is known.
    """

    kind: str
    file: str
    why: str
    hint: str | None = None


class OpenEngines:
    """For each component the best engine that this machine can run.

    chosen, load_ms: the engine, and how long it took to open, by component.
    passed_over: by component, the better engines; empty where the best was taken.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        *,
        threads: int | None,
        kind: str | None = None,
    ) -> None:
        """kind: take engines of this kind and no others, whatever comes of it."""
        self.chosen: dict[str, Engine] = {}
        self.passed_over: dict[str, tuple[PassedOver, ...]] = {}
        self.load_ms: dict[str, float] = {}
        self._directory, self._manifest = directory, manifest
        self._native = native_engines(manifest)
        self._damaged: list[BundleError] = []
        self._rebuild = f"mmedge build {directory} --target {manifest.target}"
        self._runners: dict[str, Runner] = {}
        self._stack = ExitStack()
        with ExitStack() as opening:
            opening.callback(self.close)
            for component in manifest.wiring.components:
                engines = self._wanted(component.name, manifest, kind)
                self._open(component.name, engines, threads)
            opening.pop_all()

    def run(self, name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        """Run one component on its own inputs."""
        return self._runner(name).infer(feeds)

    def bind(
        self, component: str, cache: Mapping[str, str], buffers: Mapping[str, Array]
    ) -> RunDecoder | None:
        """A run of the component on buffers that stay in place, if its engine can."""
        runner = self._runner(component)
        growing = any(buffer.size == 0 for buffer in buffers.values())
        if growing and not (isinstance(runner, GrowingBinding) and runner.grows()):
            return None
        return runner.bound(cache, buffers) if isinstance(runner, Binding) else None

    def close(self) -> None:
        """Release every engine. Safe to call twice."""
        self._runners.clear()
        self._stack.close()

    def _runner(self, name: str) -> Runner:
        if name not in self._runners:
            raise BundleError("the bundle is closed", where=self._directory)
        return self._runners[name]

    def _wanted(self, name: str, manifest: Manifest, kind: str | None) -> tuple[Engine, ...]:
        """The engines that may be taken, best first."""
        engines = manifest.engines[name]
        wanted = tuple(engine for engine in engines if kind in (None, engine.kind))
        if not wanted:
            raise BundleError(
                f"component {name!r} has no engine of kind {kind!r}",
                found=", ".join(engine.kind for engine in engines),
                where=self._directory,
                hint=f"build it: {self._rebuild}"
                if kind in ENGINES
                else f"kinds of engines: {', '.join(ENGINES)}",
            )
        return wanted

    def _open(self, name: str, engines: tuple[Engine, ...], threads: int | None) -> None:
        """Open the first engine of a component that this machine can run."""
        passed: list[PassedOver] = []
        start = time.perf_counter()
        for engine in engines:
            opened = self._opened(engine, threads)
            if isinstance(opened, PassedOver):
                passed.append(opened)
                continue
            self._runners[name] = self._stack.enter_context(opened)
            self.chosen[name], self.passed_over[name] = engine, tuple(passed)
            self.load_ms[name] = (time.perf_counter() - start) * 1e3
            return
        raise self._nothing(name, passed)

    def _opened(self, engine: Engine, threads: int | None) -> Runner | PassedOver:
        """The engine, open; or why it is not: what refuses it is asked before it is touched."""
        path = self._directory / engine.file
        if engine.file in self._native:
            damage = damage_of(self._directory, self._manifest, engine.file)
            if damage is not None:
                self._damaged.append(damage)
                return PassedOver(engine.kind, engine.file, damage.what, str(damage.details["try"]))
        refused = refusal(engine.kind, path, built_with=engine.built_with)
        if refused is not None:
            rebuild = f"build it for this machine: {self._rebuild}"
            return PassedOver(engine.kind, engine.file, refused.why, refused.hint or rebuild)
        try:
            return open_engine(engine.kind, path, threads=threads, options=engine.options)
        except MissingDependencyError as error:
            remedy = error.details["try"]
            hint = None if remedy is None else str(remedy)
            return PassedOver(engine.kind, engine.file, error.what, hint)

    def _nothing(self, name: str, passed: list[PassedOver]) -> MmedgeError:
        """No engine could be opened: every one, and why."""
        if len(passed) == 1:
            (only,) = passed
            for damage in self._damaged:
                if damage.what == only.why:
                    return damage
            file = self._directory / only.file
            return MissingDependencyError(only.why, where=file, hint=only.hint)
        hints = dict.fromkeys(engine.hint for engine in passed if engine.hint)
        return MissingDependencyError(
            f"this machine can run no engine of component {name!r}",
            found="\n".join(f"{engine.file} ({engine.kind}): {engine.why}" for engine in passed),
            where=self._directory,
            hint="\n".join(hints) or None,
        )
