"""A compiled artifact opened on this machine: run it whole, or one component."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mmedge.artifact import Artifact
from mmedge.free_memory import give_back_pages
from mmedge.runtime.execute import execute
from mmedge.runtime.next_token import GREEDY, GenerateOptions
from mmedge.runtime.runner import Runner, open_engine
from mmedge.tensors import Array
from mmedge.wiring import Source, Wiring

# Options that change no value, only how much memory an engine keeps between its runs.
LEAN: dict[str, dict[str, str]] = {"onnxruntime": {"memory_arena": "0"}}


class OpenArtifact:
    """The engines of an artifact, each open from its first use on."""

    def __init__(self, artifact: Artifact, open_runner: Callable[[str], Runner]) -> None:
        self._wiring = artifact.wired
        self._open_runner = open_runner
        self._runners: dict[str, Runner] = {}
        self._substitutes: dict[Source, Array] = {
            source: np.load(path, allow_pickle=False)
            for source, path in artifact.substitutes.items()
        }

    @property
    def wiring(self) -> Wiring:
        """How the engines are connected."""
        return self._wiring

    def run(
        self, inputs: Mapping[str, Array], *, options: GenerateOptions = GREEDY
    ) -> dict[str, Array]:
        """The model's outputs for preprocessed inputs."""
        return execute(
            self._wiring,
            inputs,
            self.run_component,
            substitutes=self._substitutes,
            options=options,
        )

    def run_component(self, name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        """One component's outputs."""
        if name not in self._runners:
            self._runners[name] = self._open_runner(name)
        return self._runners[name].infer(feeds)

    def close(self) -> None:
        """Close every engine and give its memory back; its next use opens it again."""
        if not self._runners:
            return
        while self._runners:
            self._runners.popitem()[1].close()
        give_back_pages()


@contextmanager
def open_artifact(
    artifact: Artifact, *, threads: int | None, lean: bool = False
) -> Iterator[OpenArtifact]:
    """The artifact's engines; those still open at the end of the block are closed.

    lean: keep no memory between runs, at the cost of some speed.
    """

    def open_runner(name: str) -> Runner:
        engine = artifact.engines[name]
        options = {**engine.options, **(LEAN.get(engine.kind, {}) if lean else {})}
        return open_engine(engine.kind, Path(engine.path), threads=threads, options=options)

    opened = OpenArtifact(artifact, open_runner)
    try:
        yield opened
    finally:
        opened.close()
