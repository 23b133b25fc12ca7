"""A kernel's sources to a shared library for one kind of GPU, held to its budgets."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmedge.cache import default_cache_directory
from mmedge.kernels.compile_parts import PTX, Part, compile_parts
from mmedge.kernels.kernel_table import (
    Instance,
    KernelTable,
    check_capability,
    instances,
    kernels_directory,
    read_kernel_table,
)
from mmedge.kernels.parallel_commands import Command, run_together
from mmedge.kernels.resources_used import Resources, check_budgets, read_report, with_launches
from mmedge.kernels.toolchain import Toolchain, find_toolchain
from mmedge.storage import atomic_file, explained_os_errors, parent_takes_files

Progress = Callable[[str], None]


@dataclass(frozen=True)
class BuiltKernels:
    """What was built for one kind of GPU.

    place: its name among those of other machines ("linux-x86_64-cuda13-sm86").
    library: exports the C interface. archive: the same to be linked into a plugin, whole.
    resources: what each kernel takes; none of PTX, which the driver compiles.
    """

    kernel: str
    compute_capability: str
    place: str
    library: Path
    archive: Path
    resources: tuple[Resources, ...]
    toolchain: Toolchain


def build_kernels(
    kernel: str,
    compute_capability: str,
    *,
    wanted: Sequence[Instance] | None = None,
    cache: Path | None = None,
    progress: Progress = lambda _line: None,
) -> BuiltKernels:
    """Compile `kernel` for GPUs of `compute_capability` ("8.6"), or as "ptx" for newer ones.

    wanted: some of the table's instances; by default all. cache: where finished parts are kept.
    Raises MissingDependencyError without compilers, BuildError for a GPU that the table does not
    have, what nvcc refuses and what is over budget.
    """
    table, sources = read_kernel_table(kernel), kernels_directory() / kernel
    if compute_capability != PTX:
        check_capability(table, compute_capability)
    toolchain = find_toolchain()
    directory = (cache or default_cache_directory()) / "kernels"
    chosen = instances(table, compute_capability) if wanted is None else wanted
    parts = compile_parts(
        table,
        chosen,
        compute_capability,
        sources=sources,
        toolchain=toolchain,
        directory=directory / "parts",
        progress=progress,
    )
    place = place_of(toolchain.cuda_major, compute_capability)
    target = directory / f"{place}-{_digest(parts)[:16]}"
    library, archive = (target / f"libmmedge_{kernel}{suffix}" for suffix in (".so", ".a"))
    _link(parts, toolchain, library=library, archive=archive)
    resources = _resources(parts, table, library, compute_capability)
    return BuiltKernels(
        kernel, compute_capability, place, library, archive, tuple(resources), toolchain
    )


def place_of(cuda_major: str, compute_capability: str) -> str:
    """The directory of what only this kind of machine runs: system, CUDA and GPU."""
    gpu = PTX if compute_capability == PTX else f"sm{compute_capability.replace('.', '')}"
    return f"{platform.system().lower()}-{platform.machine().lower()}-cuda{cuda_major}-{gpu}"


def install(built: BuiltKernels, output: Path) -> Path:
    """Copy the library and the archive into `output`/`place`; the path of the library there."""
    directory = output / built.place
    with explained_os_errors(directory), parent_takes_files(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for source in (built.library, built.archive):
            with source.open("rb") as stream, atomic_file(directory / source.name) as target:
                shutil.copyfileobj(stream, target)
    return directory / built.library.name


def _resources(
    parts: Sequence[Part], table: KernelTable, library: Path, compute_capability: str
) -> list[Resources]:
    if compute_capability == PTX:
        return []
    reports = [read_report(part.report) for part in parts]
    resources = with_launches(reports, library, compute_capability)
    check_budgets(resources, table.budgets, where=f"compute capability {compute_capability}")
    return resources


def _link(parts: Sequence[Part], toolchain: Toolchain, *, library: Path, archive: Path) -> None:
    """Both files, unless they are there: the directory's name is of the objects' content."""
    if library.is_file() and archive.is_file():
        return
    objects = tuple(str(part.object_file) for part in parts)
    with explained_os_errors(library):
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as work:
            made = Path(work) / library.name, Path(work) / archive.name
            linked = _link_command(toolchain, objects, made[0])
            archived = (str(toolchain.nvcc), "-lib", *objects, "-o", str(made[1]))
            run_together([Command(library.name, linked), Command(archive.name, archived)])
            for file in made:
                os.replace(file, library.parent / file.name)


def _link_command(toolchain: Toolchain, objects: Sequence[str], library: Path) -> tuple[str, ...]:
    """With CUDA's runtime inside: the driver is all that a machine needs to run it."""
    places = (text for path in toolchain.library_directories for text in ("-L", str(path)))
    return (
        str(toolchain.nvcc),
        *("-ccbin", str(toolchain.host_compiler), "-shared", "-cudart", "static", *places),
        *("-Xlinker", "--exclude-libs=ALL", "-Xlinker", "--no-undefined"),
        *(*objects, "-o", str(library)),
    )


def _digest(parts: Sequence[Part]) -> str:
    return hashlib.sha256("".join(part.object_file.name for part in parts).encode()).hexdigest()
