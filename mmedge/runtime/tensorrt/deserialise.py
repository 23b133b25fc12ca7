"""An engine file as an engine on this machine's GPU; the only place that deserialises."""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mmedge.errors import BuildError, MissingDependencyError
from mmedge.runtime.device.gpu import l4t_release
from mmedge.runtime.device.open_device import open_device
from mmedge.runtime.device.protocol import Device
from mmedge.runtime.tensorrt import stamps
from mmedge.runtime.tensorrt.header import Header
from mmedge.runtime.tensorrt.library import TensorRT, find_library
from mmedge.runtime.tensorrt.plugin_places import bundle_of
from mmedge.runtime.tensorrt.plugins import load_plugins

# cudaErrorInsufficientDriver, as TensorRT says it.
OLD_DRIVER = re.compile(r"cudaError 35\b|driver version is insufficient", re.IGNORECASE)


@dataclass(frozen=True)
class Deserialised:
    """An ICudaEngine, the IRuntime that must live as long, and what they are on."""

    library: TensorRT
    device: Device
    runtime: Any
    engine: Any


def deserialise(
    header: Header, path: Path, *, plugins: Mapping[str, str] = MappingProxyType({})
) -> Deserialised:
    """The engine in the file at `path`, whose header it is.

    plugins: that it needs, by name their stamps; loaded first.
    Raises BuildError for an engine that is not for this machine, before it is touched where the
    header tells; MissingDependencyError without library, driver, or one that is new enough.
    """
    library, device = _open_parts(header, path)
    capability, bundle = device.gpu.compute_capability, bundle_of(path)
    load_plugins(library, plugins, compute_capability=capability, bundle=bundle)
    runtime, engine = _engine(library, device, path)
    return Deserialised(library, device, runtime, engine)


def _open_parts(header: Header, path: Path) -> tuple[TensorRT, Device]:
    """The library and the GPU that an engine with this header is for.

    Raises BuildError where either is another, MissingDependencyError where one is missing.
    """
    device = open_device()
    library = find_library(header.library, purpose=f"running {path.name}")
    built_with = {header.library: header.version} if header.version else {}
    if header.compute_capabilities:
        built_with[stamps.COMPUTE_CAPABILITY] = ",".join(header.compute_capabilities)
    versions = {library.name: library.version}
    here = stamps.Here(versions, device.gpu, l4t_release(), plugins={})
    why = stamps.mismatch(built_with, here)
    if why is not None:
        raise BuildError(
            f"{path.name} is not for this machine",
            found=why,
            where=path,
            hint="build it here: mmedge build BUNDLE",
        )
    return library, device


def _engine(library: TensorRT, device: Device, path: Path) -> tuple[Any, Any]:
    """The IRuntime and the ICudaEngine; the file is mapped: the engine makes its own copy."""
    kept = library.logger.kept
    kept.clear()
    with device.active(), path.open("rb") as stream:
        runtime = library.module.Runtime(library.logger)
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            engine = runtime.deserialize_cuda_engine(data)
    if engine is not None:
        return runtime, engine
    said = "\n".join(kept.errors()) or "no reason given"
    where = f"{library.name} {library.version}, {device.gpu.name}, CUDA {device.gpu.cuda}"
    if OLD_DRIVER.search(said):
        raise MissingDependencyError(
            f"the NVIDIA driver is too old for {library.name} {library.version}",
            found=said,
            where=where,
            hint="install a newer NVIDIA driver",
        )
    raise BuildError(
        f"{library.name} does not take the engine {path.name}",
        found=said,
        where=where,
        hint="build it again on this machine: mmedge build BUNDLE",
    )
