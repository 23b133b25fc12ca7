"""TensorRT: an engine that belongs to one GPU, beside the portable one that proves the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mmedge.artifact import EngineFile
from mmedge.axis_shapes import read_shapes
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.backends.tensorrt.check import check_graphs
from mmedge.backends.tensorrt.child import Order, build_in_child
from mmedge.backends.tensorrt.plugins import (
    bundled,
    capability_of,
    plugin_library,
    plugin_options,
    plugin_stamps,
    provide_library,
)
from mmedge.backends.tensorrt.ranges import component_ranges
from mmedge.backends.tensorrt.target_check import BUILDS_ANYWHERE, check_target
from mmedge.backends.tensorrt.timing_cache import timing_file
from mmedge.cache import default_cache_directory
from mmedge.engine_plan import BuildOptions, EnginePlan
from mmedge.errors import BuildError
from mmedge.runtime.tensorrt.library import find_library
from mmedge.targets import Target, TensorRTSettings
from mmedge.wiring import ComponentSpec, Wiring

KIND = "tensorrt"
SUFFIX = ".engine"
Progress = Callable[[str], None]


class TensorRTBackend:
    """Plans how each component's engine is built, and builds it where that can be done."""

    kind = KIND

    def check_target(self, target: Target, *, opset: int | None = None) -> None:
        """Raise ProjectError for a GPU, an opset or a version that no engine can be built for."""
        check_target(target, _settings(target), opset=opset)

    def check(self, graphs: Mapping[str, Path], target: Target) -> None:
        """Raise BuildError with all that the target does not take of the graphs."""
        check_graphs(graphs, _settings(target), target=target.name)

    def plans(
        self,
        wiring: Wiring,
        precisions: Mapping[str, str],
        *,
        target: Target,
        options: BuildOptions,
    ) -> dict[str, EnginePlan]:
        """A plan for each component. BuildError names an axis whose sizes are not known."""
        settings = _settings(target)
        ranges = options.profiles or component_ranges(wiring, read_shapes(options.shapes))
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

    def stamps(self, plan: EnginePlan, *, bundle: Path | None = None) -> dict[str, str]:
        """Library, version, GPU and plugins. Raises MissingDependencyError without the library."""
        library = find_library(plan.library, purpose="building its engines")
        stamps = library.stamps(plan.compute_capability)
        if not plan.plugins:
            return stamps
        return {**stamps, **plugin_stamps(plan, plugin_library(plan, bundle=bundle))}

    def builds_here(self, plan: EnginePlan) -> bool:
        """Whether the engine can be made on another machine than it runs on."""
        return plan.library == BUILDS_ANYWHERE

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
        stamps = library.stamps(plan.compute_capability)
        _check_gpu(plan, stamps)
        path = directory / f"{name}.{_gpu(plan)}{SUFFIX}"
        # In a bundle, engines lie in a directory beside that of its plugins.
        plugin = provide_library(plan, bundle=directory.parent, progress=progress)
        stamps |= plugin_stamps(plan, plugin)
        order = Order(
            library=plan.library,
            graph=str(graph),
            inputs=component.inputs,
            profiles=plan.profiles,
            settings=Settings(
                plan.compute_capability,
                optimization_level=plan.optimization_level,
                workspace_bytes=plan.workspace_bytes,
                tf32=plan.precision == "tf32",
                timings=timing_file(library, default_cache_directory(), plan.compute_capability),
            ),
            label=name,
            output=str(path),
            plugins=plan.plugins,
            plugin_library=None if plugin is None else str(plugin),
            plugin_capability=capability_of(plan) if plan.plugins else "",
        )
        memory = build_in_child(order, progress)
        return EngineFile(
            kind=KIND,
            path=str(path),
            precision=plan.precision,
            built_with=stamps,
            size_bytes=path.stat().st_size,
            options={"library": plan.library, **plugin_options(stamps)},
            memory=memory,
            plugin_files={} if plugin is None else {bundled(plugin): str(plugin)},
        )


def _precision(of_graph: str, options: BuildOptions) -> str:
    """tf32 is none of a graph's, but a permission to the builder."""
    return "tf32" if of_graph == "fp32" and options.tf32 else of_graph


def _settings(target: Target) -> TensorRTSettings:
    if target.tensorrt is None:
        raise ValueError(f"target {target.name} has no [tensorrt]")
    return target.tensorrt


def _check_gpu(plan: EnginePlan, stamps: Mapping[str, str]) -> None:
    """A library that builds for the GPU of this machine has no other."""
    wanted, found = plan.compute_capability, stamps.get("compute_capability")
    if wanted is not None and found is not None and wanted != found:
        raise BuildError(
            "this machine's GPU is not the target's",
            found=f"compute capability {found}",
            expected=wanted,
            hint="build on the target, or name this machine's own --target (mmedge targets)",
        )


def _gpu(plan: EnginePlan) -> str:
    """Part of the file's name: engines for several GPUs lie side by side in one bundle."""
    return f"sm{plan.compute_capability.replace('.', '')}" if plan.compute_capability else "local"
