"""A compiled artifact opened on this machine: run it whole, or one component."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from mmedge.artifact import Artifact
from mmedge.runtime.execute import execute
from mmedge.runtime.runner import Runner, open_engine
from mmedge.tensors import Array
from mmedge.wiring import Source, Wiring


class OpenArtifact:
    """Every engine of an artifact, open."""

    def __init__(self, artifact: Artifact, runners: Mapping[str, Runner]) -> None:
        self._wiring = artifact.wired
        self._runners = runners
        self._substitutes: dict[Source, Array] = {
            source: np.load(path, allow_pickle=False)
            for source, path in artifact.substitutes.items()
        }

    @property
    def wiring(self) -> Wiring:
        """How the engines are connected."""
        return self._wiring

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The model's outputs for preprocessed inputs."""
        return execute(self._wiring, inputs, self.run_component, substitutes=self._substitutes)

    def run_component(self, name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        """One component's outputs."""
        return self._runners[name].infer(feeds)


@contextmanager
def open_artifact(artifact: Artifact, *, threads: int | None) -> Iterator[OpenArtifact]:
    """Open every engine; all are closed at the end of the block."""
    with ExitStack() as stack:
        runners = {
            name: stack.enter_context(
                open_engine(engine.kind, Path(engine.path), threads=threads, options=engine.options)
            )
            for name, engine in artifact.engines.items()
        }
        yield OpenArtifact(artifact, runners)
