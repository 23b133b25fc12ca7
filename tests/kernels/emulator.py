"""The attention kernels' own sources compiled for the host: a library like the GPU's."""

from __future__ import annotations

import ctypes
import fcntl
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mmedge.kernels.attention_library import AttentionLibrary
from mmedge.strict import read_toml

SOURCES = Path(__file__).parents[2] / "kernels" / "attention"
FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-DMMEDGE_EMULATION", "-x", "c++")
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


def compile_object(
    source: Path, target: Path, *, sources: Path = SOURCES, optimize: str = OPTIMIZED
) -> Path:
    """Compile once, also where several test processes want the same file."""
    with _alone(target):
        if not target.exists():
            made = target.with_suffix(".part")
            run_compiler(*FLAGS, optimize, f"-I{sources}", "-c", str(source), "-o", str(made))
            made.replace(target)
    return target


def build_emulator(
    directory: Path,
    *instances: Instance,
    sources: Path = SOURCES,
    optimize: str = OPTIMIZED,
) -> Emulator:
    """A library with these instances; its objects lie in `directory` and serve others there."""
    directory.mkdir(exist_ok=True)
    objects = [sources / "attention.cu"]
    for instance in instances:
        objects.append(directory / f"{instance.name}.cpp")
        with _alone(objects[-1]):
            objects[-1].write_text(instance.source())
    compiled = [
        compile_object(
            source, directory / f"{source.stem}.o", sources=sources, optimize=optimize
        )
        for source in objects
    ]
    library = directory / ("-".join(i.name for i in instances) + ".so")
    with _alone(library):
        if not library.exists():
            made = library.with_suffix(".part")
            run_compiler("-shared", *map(str, compiled), "-o", str(made))
            made.replace(library)
    return Emulator(library)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    with target.with_suffix(f"{target.suffix}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
