"""Stage `build`: an engine for every component."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mmedge.artifact import Artifact, EngineFile, replace
from mmedge.axis_shapes import narrowed_wiring, read_shapes
from mmedge.backends.base import native_backend, portable_backend
from mmedge.backends.device_memory import buffers_of, check_buffers, check_fits
from mmedge.engine_plan import BuildOptions, EnginePlan
from mmedge.errors import BuildError
from mmedge.stage import Workspace
from mmedge.targets import Target


class Build:
    """An engine that runs here, for every component; and the target's own, if that is another.

    What runs here proves the graph equal to the model, whatever GPU the target has, and is in the
    bundle for machines that the target's own engine does not fit.
    """

    name = "build"
    requires: tuple[str, ...] = ("fuse",)
    config_keys: tuple[str, ...] = ("shapes", "optimization_level", "workspace_bytes")
    target_keys: tuple[str, ...] | None = None

    def run(self, artifact: Artifact, workspace: Workspace, directory: Path) -> Artifact:
        """The artifact with an engine for each component."""
        artifact = _shaped(artifact, workspace)
        _check_graphs(artifact, workspace.target)
        plans = _plans(artifact, workspace)
        if plans:
            check_buffers(artifact.wired, plans, workspace.target)
        portable = portable_backend(workspace.target)
        engines: dict[str, EngineFile] = {}
        for component in artifact.wired.components:
            workspace.progress(f"building {component.name}")
            engine = portable.build(
                component,
                Path(artifact.graphs[component.name]),
                target=workspace.target,
                directory=directory,
                precision=artifact.precision_of(component.name),
                engines=len(artifact.wired.components),
            )
            engines[component.name] = engine.file
        native = _native_engines(artifact, plans, workspace, directory)
        artifact = replace(artifact, engines=engines, plans=plans, native_engines=native)
        record = {"engines": engines, "plans": plans, "native_engines": native}
        return artifact.with_record(self.name, record)

    def ensures(self, artifact: Artifact) -> None:
        """No component is without an engine, and no engine is empty."""
        for component in artifact.wired.components:
            engine = artifact.engines.get(component.name)
            if engine is None or engine.size_bytes == 0:
                raise BuildError(f"component {component.name!r} has no engine")


def _shaped(artifact: Artifact, workspace: Workspace) -> Artifact:
    """The artifact, its axes within the sizes that engines are asked for."""
    shapes, wiring = read_shapes(workspace.config.shapes), artifact.wired
    axes = narrowed_wiring(wiring, shapes)
    return replace(artifact, wiring=msgspec.structs.replace(wiring, axes=axes))


def check_target(target: Target, opset: int | None) -> None:
    """Raise ProjectError where the target's own engines could not be built from any graph.

    opset: that was asked for; None takes the target's.
    """
    backend = native_backend(target)
    if backend is not None:
        backend.check_target(target, opset=opset or target.opset)


def _check_graphs(artifact: Artifact, target: Target) -> None:
    """Everything that the target's own engines do not take is told at once, before any is built."""
    backend = native_backend(target)
    if backend is not None:
        names = [component.name for component in artifact.wired.components]
        backend.check({name: Path(artifact.graphs[name]) for name in names}, target)


def _plans(artifact: Artifact, workspace: Workspace) -> dict[str, EnginePlan]:
    """How the target's own engines are built; none where it runs the portable ones."""
    backend = native_backend(workspace.target)
    if backend is None:
        return {}
    wiring = artifact.wired
    config = workspace.config
    options = BuildOptions(
        shapes=config.shapes,
        tf32=config.precision == "tf32",
        optimization_level=config.optimization_level,
        workspace_bytes=config.workspace_bytes,
    )
    precisions = {c.name: artifact.precision_of(c.name) for c in wiring.components}
    plans = backend.plans(wiring, precisions, target=workspace.target, options=options)
    needed = artifact.records["fuse"]["plugins"]
    return {
        name: msgspec.structs.replace(plan, plugins=tuple(needed.get(name, ())))
        for name, plan in plans.items()
    }


def _native_engines(
    artifact: Artifact, plans: dict[str, EnginePlan], workspace: Workspace, directory: Path
) -> dict[str, EngineFile]:
    """The target's own engines, as far as they can be built on another machine than the target."""
    backend = native_backend(workspace.target)
    built: dict[str, EngineFile] = {}
    for component in artifact.wired.components if backend is not None else ():
        assert backend is not None
        plan = plans[component.name]
        if backend.builds_here(plan):
            workspace.progress(f"building {component.name} for {workspace.target.name}")
            graph = Path(artifact.graphs[component.name])
            built[component.name] = backend.build(
                component, graph, plan=plan, directory=directory, progress=workspace.progress
            )
    components = [c for c in artifact.wired.components if c.name in built]
    buffers = {c.name: buffers_of(c, plans[c.name].profiles) for c in components}
    check_fits(built, workspace.target, buffers=buffers)
    return built
