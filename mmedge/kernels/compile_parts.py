"""A kernel's source files to object files, side by side, each kept by its content."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mmedge.errors import BuildError
from mmedge.kernels.kernel_table import Instance, KernelTable, Tiles
from mmedge.kernels.parallel_commands import Command, run_together
from mmedge.kernels.toolchain import Toolchain
from mmedge.storage import explained_os_errors

Progress = Callable[[str], None]
SOURCES = ("*.cu", "*.cuh", "*.h")
FLAGS = ("-std=c++17", "-O3", "-lineinfo", "-Xptxas", "-v")
HOST_FLAGS = "-fPIC,-fvisibility=hidden"
# The compute capability under which the PTX is asked for.
PTX = "ptx"


@dataclass(frozen=True)
class Part:
    """One object file, and what the compiler said of it."""

    name: str
    object_file: Path
    report: str


@dataclass(frozen=True)
class _Wanted:
    name: str
    source: str
    flags: tuple[str, ...]
    key: str


def compile_parts(
    table: KernelTable,
    wanted: Sequence[Instance],
    compute_capability: str,
    *,
    sources: Path,
    toolchain: Toolchain,
    directory: Path,
    progress: Progress = lambda _line: None,
) -> list[Part]:
    """Object files of the interface and of each instance, in `directory`; what is there is kept.

    Raises BuildError with nvcc's words. Stopped at any time, it leaves only whole files.
    """
    seed = _digest_of(sources, toolchain)
    once = (table.interface_source, table.listing_source)
    # There is no kernel in them: compiled for the oldest GPU, they serve for all.
    shared, own = (architecture_flags(table, kind) for kind in (PTX, compute_capability))
    parts = [_wanted(seed, name, f'#include "{name}"\n', shared) for name in once]
    parts += [_wanted(seed, f"{i.name}.cu", instance_source(table, i), own) for i in wanted]
    missing = [part for part in parts if not _is_there(directory, part)]
    if missing:
        with explained_os_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            _compile(missing, sources, toolchain, directory, progress)
    return [
        Part(p.name, directory / f"{p.key}.o", (directory / f"{p.key}.txt").read_text())
        for p in parts
    ]


def architecture_flags(table: KernelTable, compute_capability: str) -> tuple[str, ...]:
    """For machine code of one GPU, or PTX that the driver of any newer one compiles."""
    ptx = compute_capability == PTX
    number = (table.ptx if ptx else compute_capability).replace(".", "")
    code = f"compute_{number}" if ptx else f"sm_{number}"
    return ("-gencode", f"arch=compute_{number},code={code}")


def instance_source(table: KernelTable, instance: Instance) -> str:
    """The source file of one instance: what it is, and the file that has the rest."""
    return (
        f"#define MMEDGE_NUMBER {instance.dtype}\n"
        f"#define MMEDGE_HEAD {instance.padded_head_size}\n"
        f"#define MMEDGE_FORWARD_TILES(TILE) {_tiles(instance.forward)}\n"
        f"#define MMEDGE_DECODE_TILES(TILE) {_tiles(instance.decode)}\n"
        f'#include "{table.instance_source}"\n'
    )


def _tiles(shapes: Tiles) -> str:
    return " ".join(f"TILE({rows}, {keys})" for rows, keys in shapes)


def _compile(
    parts: Sequence[_Wanted],
    sources: Path,
    toolchain: Toolchain,
    directory: Path,
    progress: Progress,
) -> None:
    """All in a directory of its own; each object is put in place when it is whole."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        commands = [_command(part, sources, toolchain, work) for part in parts]
        finished = 0

        def keep(index: int, said: str) -> None:
            nonlocal finished
            part, finished = parts[index], finished + 1
            made = work / f"{part.key}.o"
            if not made.is_file():
                raise BuildError(f"nvcc wrote no object file of {part.name}", found=said[:500])
            report = work / f"{part.key}.txt"
            report.write_text(said)
            os.replace(
                report, directory / report.name
            )  # the object last: it says that all is there
            os.replace(made, directory / made.name)
            progress(f"compiled {part.name} ({finished} of {len(parts)})")

        run_together(commands, keep)


def _command(part: _Wanted, sources: Path, toolchain: Toolchain, work: Path) -> Command:
    source = work / f"{part.key}.cu"
    source.write_text(part.source)
    arguments = (
        str(toolchain.nvcc),
        *("-ccbin", str(toolchain.host_compiler), *part.flags),
        *("-Xcompiler", HOST_FLAGS, "-I", str(sources)),
        *("-c", str(source), "-o", str(work / f"{part.key}.o")),
    )
    return Command(part.name, arguments, sources)


def _is_there(directory: Path, part: _Wanted) -> bool:
    return all((directory / f"{part.key}.{suffix}").is_file() for suffix in ("o", "txt"))


def _digest_of(sources: Path, toolchain: Toolchain) -> str:
    """Of all that shapes every object file."""
    digest = hashlib.sha256(repr((toolchain.version, _identity(toolchain))).encode())
    for path in sorted(path for pattern in SOURCES for path in sources.glob(pattern)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _identity(toolchain: Toolchain) -> tuple[str, int]:
    """Of the host compiler: an upgrade in place changes its size or its name."""
    real = toolchain.host_compiler.resolve()
    return real.name, real.stat().st_size


def _wanted(seed: str, name: str, source: str, architecture: tuple[str, ...]) -> _Wanted:
    flags = (*FLAGS, *architecture)
    key = hashlib.sha256("\0".join((seed, name, source, *flags)).encode()).hexdigest()
    return _Wanted(name, source, flags, key)
