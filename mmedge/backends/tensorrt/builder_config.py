"""The settings of a build, as an IBuilderConfig."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmedge.backends.tensorrt.timing_cache import use_timings
from mmedge.runtime.tensorrt.library import TensorRT


@dataclass(frozen=True)
class Settings:
    """How an engine is built.

    compute_capability: of the GPU it is for ("8.6"); None for the GPU of this machine.
    optimization_level: 0 (fast to build) to 5 (fast to run); None for the library's own.
    workspace_bytes: the most scratch memory a layer may have; None for no limit.
    tf32: whether products of float32 matrices may be computed in tf32, TensorRT's own default.
    timings: where what is measured of layers is kept; None where that is not done.
    """

    compute_capability: str | None = None
    optimization_level: int | None = None
    workspace_bytes: int | None = None
    tf32: bool = False
    timings: Path | None = None


def builder_config(library: TensorRT, builder: Any, settings: Settings) -> Any:
    """An IBuilderConfig without profiles; BuildError where the library has no such setting."""
    module, config = library.module, builder.create_builder_config()
    if settings.compute_capability is not None:
        library.for_compute_capability(config, settings.compute_capability)
    if settings.optimization_level is not None:
        config.builder_optimization_level = settings.optimization_level
    if settings.workspace_bytes is not None:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, settings.workspace_bytes)
    if settings.timings is not None:
        use_timings(config, settings.timings)
    # On by default in every version: float32 would silently be less than float32.
    switch = config.set_flag if settings.tf32 else config.clear_flag
    switch(module.BuilderFlag.TF32)
    return config
