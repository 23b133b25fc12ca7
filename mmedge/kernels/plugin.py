"""TensorRT's plugin around a kernel: a shared library of TensorRT's headers and our archive."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmedge.errors import MissingDependencyError
from mmedge.kernels.build import BuiltKernels
from mmedge.kernels.kernel_table import kernels_directory
from mmedge.kernels.parallel_commands import Command, run_together
from mmedge.storage import explained_os_errors, parent_takes_files

HEADER = "NvInferRuntime.h"
USUAL_PLACES = ("/usr/include", "/usr/local/include", "/usr/local/tensorrt/include")
FLAGS = ("-std=c++17", "-O2", "-shared", "-cudart", "static")
# Deprecations are of TensorRT's own headers, for whoever still uses what they declare.
HOST_FLAGS = "-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Wno-deprecated-declarations"


def find_headers(
    asked: str | Path | None = None, environment: Mapping[str, str] | None = None
) -> Path:
    """Where TensorRT's headers are: as asked, else $TENSORRT_INCLUDE, else the usual places.

    Raises MissingDependencyError where they are not; a place that was named is the only one.
    """
    environment = os.environ if environment is None else environment
    named = asked or environment.get("TENSORRT_INCLUDE")
    places = [Path(named)] if named else list(_usual(environment))
    for place in places:
        if (place / HEADER).is_file():
            return place.resolve()
    raise MissingDependencyError(
        "TensorRT's headers are needed for building its plugin, and are not here",
        found=f"no {HEADER} in {', '.join(map(str, places))}",
        hint="apt install libnvinfer-headers-dev (on a Jetson it comes with JetPack), or name "
        "their directory: --tensorrt-include, $TENSORRT_INCLUDE",
    )


def _usual(environment: Mapping[str, str]) -> Iterator[Path]:
    root = environment.get("TENSORRT_ROOT")
    if root:
        yield Path(root) / "include"
    yield from map(Path, USUAL_PLACES)
    yield Path("/usr/include") / f"{platform.machine()}-linux-gnu"


def build_plugin(built: BuiltKernels, output: Path, *, headers: Path) -> Path:
    """The plugin with the kernels of `built`, in `output`/`built.place`; its path.

    It has the C interface, too. Raises BuildError with the compiler's words.
    """
    target = output / built.place / built.library.name
    with explained_os_errors(target), parent_takes_files(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            made = Path(work) / target.name
            run_together([Command(f"the plugin of {built.kernel}", _command(built, headers, made))])
            os.replace(made, target)
    return target


def _command(built: BuiltKernels, headers: Path, made: Path) -> tuple[str, ...]:
    tools = built.toolchain
    sources = sorted(map(str, (kernels_directory() / built.kernel / "plugin").glob("*.cpp")))
    places = (text for path in tools.library_directories for text in ("-L", str(path)))
    # The kernels register themselves: nothing refers to their object files.
    whole = f"--whole-archive,{built.archive},--no-whole-archive"
    return (
        *(str(tools.nvcc), "-ccbin", str(tools.host_compiler), *FLAGS, *places),
        *("-Xcompiler", HOST_FLAGS, "-isystem", str(headers), *sources),
        *("-Xlinker", whole, "-Xlinker", "--exclude-libs=libcudart_static.a,--no-undefined"),
        *("-o", str(made)),
    )
