"""TensorRT: an engine that belongs to one GPU, beside the portable one that proves the graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmedge.artifact import Artifact, EngineFile
from mmedge.axis_shapes import read_shapes
from mmedge.backends.tensorrt.build import build_engine
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.backends.tensorrt.ranges import component_ranges
from mmedge.config import CompileConfig
from mmedge.engine_plan import EnginePlan
from mmedge.runtime.tensorrt.library import find_library
from mmedge.storage import atomic_file
from mmedge.targets import Target
from mmedge.wiring import ComponentSpec

KIND = "tensorrt"
SUFFIX = ".engine"
Progress = Callable[[str], None]


class TensorRTBackend:
    """Plans how each component's engine is built, and builds it where that can be done."""

    kind = KIND

    def plans(
        self, artifact: Artifact, target: Target, config: CompileConfig
    ) -> dict[str, EnginePlan]:
        """A plan for each component. BuildError names an axis whose sizes are not known."""
        settings = target.tensorrt
        if settings is None:
            raise ValueError(f"target {target.name} has no [tensorrt]")
        ranges = component_ranges(artifact.wired, read_shapes(config.shapes))
        return {
            name: EnginePlan(
                kind=KIND,
                library=settings.library,
                precision=_precision(artifact, name, config),
                profiles=profiles,
                compute_capability=settings.compute_capability,
                optimization_level=config.optimization_level,
                workspace_bytes=config.workspace_bytes,
            )
            for name, profiles in ranges.items()
        }

    def builds_here(self, plan: EnginePlan) -> bool:
        """Whether the engine can be made on another machine than it runs on."""
        return plan.library == "tensorrt_rtx"

    def build(
        self,
        component: ComponentSpec,
        graph: Path,
        *,
        plan: EnginePlan,
        directory: Path,
        progress: Progress,
    ) -> EngineFile:
        """The engine of `graph` by `plan`, its file in `directory`.

        Raises MissingDependencyError without the library, BuildError where it refuses.
        """
        name = component.name
        library = find_library(plan.library, purpose=f"building the engine of {name!r}")
        built = build_engine(
            library,
            graph,
            component.inputs,
            plan.profiles,
            settings=Settings(
                plan.compute_capability,
                optimization_level=plan.optimization_level,
                workspace_bytes=plan.workspace_bytes,
                tf32=plan.precision == "tf32",
            ),
            label=name,
            progress=progress,
        )
        path = directory / f"{name}{SUFFIX}"
        with atomic_file(path) as stream:
            stream.write(built.data)
        return EngineFile(
            kind=KIND,
            path=str(path),
            precision=plan.precision,
            built_with=library.stamps(plan.compute_capability),
            size_bytes=len(built.data),
            memory=built.memory,
        )


def _precision(artifact: Artifact, name: str, config: CompileConfig) -> str:
    """Of the graph; tf32 is none of a graph's, but a permission to the builder."""
    precision = artifact.precision_of(name)
    return "tf32" if precision == "fp32" and config.precision == "tf32" else precision
