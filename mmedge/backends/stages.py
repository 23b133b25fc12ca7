"""Stage `build`: an engine for every component."""

from __future__ import annotations

from pathlib import Path

from mmedge.artifact import Artifact, EngineFile, replace
from mmedge.backends.base import load_backend
from mmedge.errors import BuildError
from mmedge.stage import Workspace


class Build:
    """Build each component's engine with the target's backend."""

    name = "build"
    requires: tuple[str, ...] = ("rewrite",)
    config_keys: tuple[str, ...] = ()

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The artifact with an engine for each component."""
        backend = load_backend(workspace.target.backend)
        engines: dict[str, EngineFile] = {}
        for component in artifact.wired.components:
            workspace.progress(f"building {component.name}")
            engine = backend.build(
                component,
                Path(artifact.graphs[component.name]),
                target=workspace.target,
                directory=directory,
                engines=len(artifact.wired.components),
            )
            engines[component.name] = engine.file
        return replace(artifact, engines=engines).with_record(self.name, engines)

    def ensures(self, artifact: Artifact) -> None:
        """No component is without an engine, and no engine is empty."""
        for component in artifact.wired.components:
            engine = artifact.engines.get(component.name)
            if engine is None or engine.size_bytes == 0:
                raise BuildError(f"component {component.name!r} has no engine")
