"""The attention kernels' own sources compiled for the host: a library like the GPU's."""

from __future__ import annotations

import ctypes
import fcntl
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mmedge.kernels.attention_library import AttentionLibrary
from mmedge.strict import read_toml

SOURCES = Path(__file__).parents[2] / "kernels" / "attention"
FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-DMMEDGE_EMULATION")
OPTIMIZED = "-O2"


@dataclass(frozen=True)
class Instance:
    """The kernels of one dtype ("Fp16", "Bf16") and one padded head size."""

    number: str
    padded_head_size: int
    forward: tuple[tuple[int, int], ...]
    decode: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        return f"{self.number}_{self.padded_head_size}"

    def source(self) -> str:
        return (
            f"#define MMEDGE_NUMBER {self.number}\n"
            f"#define MMEDGE_HEAD {self.padded_head_size}\n"
            f"#define MMEDGE_FORWARD_TILES(TILE) {_tiles(self.forward)}\n"
            f"#define MMEDGE_DECODE_TILES(TILE) {_tiles(self.decode)}\n"
            '#include "instance.cuh"\n'
        )


def _tiles(shapes: Sequence[Sequence[int]]) -> str:
    return " ".join(f"TILE({rows}, {keys})" for rows, keys in shapes)


def shipped_instance(number: str, padded_head_size: int) -> Instance:
    """With the tile shapes that kernel.toml gives it where no GPU is named."""
    tiles: dict[str, Any] = dict(kernel_table()["tiles"])
    for special in tiles.pop("special"):
        if special.get("padded_head_size") == padded_head_size:
            tiles |= special
    forward, decode = (tuple((r, k) for r, k in tiles[kind]) for kind in ("forward", "decode"))
    return Instance(number, padded_head_size, forward, decode)


@cache
def kernel_table() -> dict[str, Any]:
    return read_toml(SOURCES / "kernel.toml")


class Emulator(AttentionLibrary):
    """The library, with the emulation's own settings."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._settings = ctypes.CDLL(str(path)).mmedge_emulation_settings

    def schedule(self, seed: int, *, multiprocessors: int = 16) -> None:
        """Draw the order of the threads from `seed`; cut keys for so many multiprocessors."""
        self._settings(ctypes.c_uint32(seed), multiprocessors)


def compiler() -> str:
    found = shutil.which("g++")
    if found is None:
        pytest.skip("g++ is not installed: the kernels' sources cannot be compiled for the host")
    return found


def run_compiler(*arguments: str) -> None:
    done = subprocess.run([compiler(), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def once(target: Path, make: Callable[[Path], None]) -> Path:
    """`make` writes the file, if no other test process has: half a file is never seen."""
    with _alone(target):
        if not target.exists():
            part = target.with_name(f"{target.name}.part")
            make(part)
            part.replace(target)
    return target


def compile_object(
    source: Path,
    target: Path,
    *,
    headers: Path,
    sources: Path = SOURCES,
    optimize: str = OPTIMIZED,
) -> Path:
    """With the emulation's own headers compiled beforehand: most of the time is theirs."""
    header = _precompiled_header(headers, optimize)
    include = ("-include", str(header), f"-I{sources}", f"-I{SOURCES}")
    return once(
        target,
        lambda made: run_compiler(*FLAGS, "-x", "c++", optimize, *include, "-c", str(source),
                                  "-o", str(made)),
    )  # fmt: skip


def _precompiled_header(directory: Path, optimize: str) -> Path:
    """The compiler finds the .gch beside the header that it is told to include."""
    header = once(
        directory / f"precompiled{optimize}.h",
        lambda made: write(made, f'#include "{SOURCES / "emulation.h"}"\n'),
    )
    once(
        header.with_name(f"{header.name}.gch"),
        lambda made: run_compiler(*FLAGS, "-x", "c++-header", optimize, str(header),
                                  "-o", str(made)),
    )  # fmt: skip
    return header


def build_emulator(
    directory: Path, instance: Instance, *, sources: Path = SOURCES, optimize: str = OPTIMIZED
) -> Emulator:
    """A library with this instance; the objects lie in `directory` and serve others there."""
    directory.mkdir(exist_ok=True)
    generated = once(
        directory / f"{instance.name}.cpp", lambda made: write(made, instance.source())
    )
    objects = [
        compile_object(
            source,
            directory / f"{source.stem}.o",
            headers=directory,
            sources=sources,
            optimize=optimize,
        )
        for source in (sources / "attention.cu", generated)
    ]
    return link_emulator(directory / f"{instance.name}.so", *objects)


def link_emulator(target: Path, *objects: Path) -> Emulator:
    names = [str(path) for path in objects]
    return Emulator(once(target, lambda made: run_compiler("-shared", *names, "-o", str(made))))


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
