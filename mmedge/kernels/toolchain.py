"""NVIDIA's compiler on this machine: from the environment, a CUDA toolkit, or pip's wheels."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmedge.errors import MissingDependencyError

RELEASE = re.compile(r"release (\d+)\.(\d+), V([\d.]+)")
INSTALL = (
    "pip install 'mmedge[kernels]', or install the CUDA toolkit and put nvcc on PATH "
    "(on a Jetson it is in /usr/local/cuda/bin: export CUDACXX=/usr/local/cuda/bin/nvcc)"
)


@dataclass(frozen=True)
class Toolchain:
    """nvcc, its version ("13.0.88"), the C++ compiler that it calls, and where its libraries are.

    library_directories: besides those that nvcc knows itself.
    """

    nvcc: Path
    version: str
    host_compiler: Path
    library_directories: tuple[Path, ...] = ()

    @property
    def cuda_major(self) -> str:
        """Of the CUDA that what is built needs ("13"): a driver that supports it, at least."""
        return self.version.split(".")[0]


def find_toolchain(environment: Mapping[str, str] | None = None) -> Toolchain:
    """The first of $CUDACXX, $CUDA_HOME, PATH and the nvidia-cuda-nvcc wheel that is there.

    Raises MissingDependencyError without nvcc or without a C++ compiler; a $CUDACXX that is not
    there is told rather than passed over.
    """
    environment = os.environ if environment is None else environment
    nvcc = next(_candidates(environment), None)
    if nvcc is None:
        raise MissingDependencyError(
            "nvcc is needed for building CUDA kernels, and is not installed",
            found="nothing in $CUDACXX, $CUDA_HOME/bin, PATH and the nvidia-cuda-nvcc wheels",
            hint=INSTALL,
        )
    host = shutil.which(environment.get("CXX") or "g++", path=environment.get("PATH"))
    if host is None:
        raise MissingDependencyError(
            "a C++ compiler is needed for building CUDA kernels, and is not installed",
            found=f"no {environment.get('CXX') or 'g++'} on PATH",
            hint="apt install g++, or name one in $CXX",
        )
    libraries = nvcc.parents[1] / "lib"
    wheel = (libraries,) if (libraries / "libcudart_static.a").is_file() else ()
    return Toolchain(nvcc, _version(nvcc), Path(host), wheel)


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    """Every nvcc that there is, the one asked for first."""
    asked = environment.get("CUDACXX")
    if asked:
        found = shutil.which(asked, path=environment.get("PATH"))
        if found is None:
            raise MissingDependencyError(
                "$CUDACXX names no compiler", found=asked, hint="unset it, or name an nvcc"
            )
        yield Path(found)
    home = environment.get("CUDA_HOME") or environment.get("CUDA_PATH")
    if home and (Path(home) / "bin" / "nvcc").is_file():
        yield Path(home) / "bin" / "nvcc"
    on_path = shutil.which("nvcc", path=environment.get("PATH"))
    if on_path is not None:
        yield Path(on_path)
    yield from wheels()


def wheels() -> Iterator[Path]:
    """nvcc of the nvidia-cuda-nvcc wheels, the newest CUDA first."""
    nvidia = importlib.util.find_spec("nvidia")
    for place in (nvidia.submodule_search_locations or ()) if nvidia else ():
        yield from sorted(Path(place).glob("cu*/bin/nvcc"), key=_cuda_number, reverse=True)


def _cuda_number(nvcc: Path) -> int:
    return int(re.sub(r"\D", "", nvcc.parents[1].name) or 0)


def _version(nvcc: Path) -> str:
    try:
        done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
    except OSError as error:
        said = str(error)
    found = RELEASE.search(said)
    if found is None:
        raise MissingDependencyError(
            f"{nvcc} does not run as NVIDIA's compiler",
            found=said.strip()[-500:] or "it says nothing",
            hint=INSTALL,
        )
    return found[3]
