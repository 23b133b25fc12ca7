"""TensorRT: an engine that belongs to one GPU, beside the portable one that proves the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mmedge.artifact import EngineFile
from mmedge.axis_shapes import read_shapes
from mmedge.backends.tensorrt.build import build_engine
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.backends.tensorrt.ranges import component_ranges
from mmedge.engine_plan import BuildOptions, EnginePlan
from mmedge.runtime.tensorrt.library import find_library
from mmedge.storage import atomic_file
from mmedge.targets import Target
from mmedge.wiring import ComponentSpec, Wiring

KIND = "tensorrt"
SUFFIX = ".engine"
Progress = Callable[[str], None]


class TensorRTBackend:
    """Plans how each component's engine is built, and builds it where that can be done."""

    kind = KIND

    def plans(
        self,
        wiring: Wiring,
        precisions: Mapping[str, str],
        *,
        target: Target,
        options: BuildOptions,
    ) -> dict[str, EnginePlan]:
        """A plan for each component. BuildError names an axis whose sizes are not known."""
        settings = target.tensorrt
        if settings is None:
            raise ValueError(f"target {target.name} has no [tensorrt]")
        ranges = component_ranges(wiring, read_shapes(options.shapes))
        return {
            name: EnginePlan(
                kind=KIND,
                library=settings.library,
                precision=_precision(precisions[name], options),
                profiles=profiles,
                compute_capability=settings.compute_capability,
                optimization_level=options.optimization_level,
                workspace_bytes=options.workspace_bytes,
            )
            for name, profiles in ranges.items()
        }

    def stamps(self, plan: EnginePlan) -> dict[str, str]:
        """Library, version and GPU. Raises MissingDependencyError without the library."""
        library = find_library(plan.library, purpose="building its engines")
        return library.stamps(plan.compute_capability)

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
        path = directory / f"{name}.{_gpu(plan)}{SUFFIX}"
        with atomic_file(path) as stream:
            stream.write(built.data)
        return EngineFile(
            kind=KIND,
            path=str(path),
            precision=plan.precision,
            built_with=library.stamps(plan.compute_capability),
            size_bytes=len(built.data),
            options={"library": plan.library},
            memory=built.memory,
        )


def _precision(of_graph: str, options: BuildOptions) -> str:
    """tf32 is none of a graph's, but a permission to the builder."""
    return "tf32" if of_graph == "fp32" and options.tf32 else of_graph


def _gpu(plan: EnginePlan) -> str:
    """Part of the file's name: engines for several GPUs lie side by side in one bundle."""
    return f"sm{plan.compute_capability.replace('.', '')}" if plan.compute_capability else "local"
