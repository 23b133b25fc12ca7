"""`mmedge kernels build`: for several GPUs at a time, and with TensorRT's plugin if wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mmedge.errors import OutputError, ProjectError
from mmedge.kernels.build import BuiltKernels, build_kernels, install
from mmedge.kernels.compile_parts import PTX
from mmedge.kernels.kernel_table import read_kernel_table
from mmedge.kernels.plugin import build_plugin, find_headers
from mmedge.runtime.tensorrt.plugin_places import installed_plugins
from mmedge.targets import load_target

Progress = Callable[[str], None]


def build_all(
    kernel: str = "attention",
    *,
    capabilities: Sequence[str] = (),
    target: str | None = None,
    output: str | Path | None = None,
    plugin: bool = False,
    tensorrt_include: str | Path | None = None,
    progress: Progress = lambda _line: None,
) -> dict[str, Any]:
    """Compile for each of `capabilities`, the target's, or all that the table has with the PTX.

    output: where libraries are copied to, a directory for each GPU; None leaves them in the cache.
    plugin: also TensorRT's plugin, for a GPU each: into `output`, or installed for this user.
    Returns what was built, for `--json`. Raises what `build_kernels` and `build_plugin` raise.
    """
    asked = _asked(kernel, capabilities, target)
    # What stands in the way is told at once, not after minutes of compiling.
    headers = find_headers(tensorrt_include) if plugin else None
    if output is not None:
        make_directory(Path(output))
    rows = []
    for capability in asked:
        progress(f"kernel {kernel} for {capability}")
        built = build_kernels(kernel, capability, progress=progress)
        row = _row(built, None if output is None else Path(output))
        if headers is not None and capability != PTX:
            place = installed_plugins() if output is None else Path(output)
            row["plugin"] = str(build_plugin(built, place, headers=headers))
        rows.append(row)
    return {"kernel": kernel, "built": rows}


def _asked(kernel: str, capabilities: Sequence[str], target: str | None) -> list[str]:
    """What is to be compiled for; ProjectError for a target that has no GPU of NVIDIA's."""
    if target is not None:
        settings = load_target(target).tensorrt
        if settings is None:
            raise ProjectError(
                f"target {target!r} has no GPU that CUDA kernels are compiled for",
                hint="leave --target out" if capabilities else "--compute-capability 8.7 names one",
            )
        capabilities = (*capabilities, settings.compute_capability)
    if not capabilities:
        table = read_kernel_table(kernel)
        capabilities = (*table.compute_capabilities, PTX)
    return list(dict.fromkeys(capabilities))


def make_directory(path: Path) -> None:
    """Make it, or raise OutputError where nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be made", found=error, hint="choose another --output"
        ) from error
    if not os.access(path, os.W_OK):
        raise OutputError(f"{path} cannot be written to", hint="choose another --output")


def _row(built: BuiltKernels, output: Path | None) -> dict[str, Any]:
    library = built.library if output is None else install(built, output)
    return {
        "compute_capability": built.compute_capability,
        "cuda": built.toolchain.version,
        "library": str(library),
        "size_bytes": library.stat().st_size,
        "resources": msgspec.to_builtins(built.resources),
        "plugin": None,
    }
