"""kernels/<op>/kernel.toml: which variants of a kernel there are, for which GPUs, within what."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mmedge.errors import BuildError, ProjectError
from mmedge.resources import data_dir
from mmedge.strict import decode, nearest, read_toml

SCHEMA = 1
TABLE = "kernel.toml"
CAPABILITY = re.compile(r"\d+\.\d")
Tiles = tuple[tuple[int, int], ...]


class Special(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tile shapes for a head size, a compute capability, or both."""

    padded_head_size: int | None = None
    compute_capability: str | None = None
    forward: Tiles | None = None
    decode: Tiles | None = None

    def fits(self, padded_head_size: int, compute_capability: str) -> bool:
        """Whether it says something of this head size on this GPU."""
        heads = self.padded_head_size in (None, padded_head_size)
        return heads and self.compute_capability in (None, compute_capability)


class TileTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """(query rows, keys in one step), the preferred first; of `special` the last that fits."""

    forward: Tiles
    decode: Tiles
    special: tuple[Special, ...] = ()


class Budgets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most that a variant may take: of each thread, and shared memory of each block."""

    spilled_bytes: int
    registers: int
    shared_bytes: int


class KernelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is built of one op. The meaning of each key is in the file itself."""

    schema: int
    op: str
    interface_source: str
    listing_source: str
    instance_source: str
    dtypes: tuple[str, ...]
    padded_head_sizes: tuple[int, ...]
    compute_capabilities: tuple[str, ...]
    ptx: str
    tiles: TileTable
    budgets: Budgets


@dataclass(frozen=True)
class Instance:
    """The variants of one dtype ("Fp16") and one padded head size: compiled as one file."""

    dtype: str
    padded_head_size: int
    forward: Tiles
    decode: Tiles

    @property
    def name(self) -> str:
        """A name for its file."""
        return f"{self.dtype.lower()}_{self.padded_head_size}"


def kernels_directory() -> Path:
    """Where the sources of all kernels are."""
    return data_dir("kernels")


def kernel_names() -> list[str]:
    """The kernels that there are: one directory each."""
    return sorted(path.parent.name for path in kernels_directory().glob(f"*/{TABLE}"))


def read_kernel_table(name: str, *, directory: Path | None = None) -> KernelTable:
    """The table of the kernel called `name`, or that in `directory`.

    Raises ProjectError for an unknown kernel, an unknown key, a wrong value, a newer schema.
    """
    if directory is None:
        if name not in kernel_names():
            raise ProjectError(f"there is no kernel {name!r}", hint=nearest(name, kernel_names()))
        directory = kernels_directory() / name
    path = directory / TABLE
    data = read_toml(path)
    if data.get("schema") != SCHEMA:
        raise ProjectError(
            f"{TABLE} is of another schema", found=data.get("schema"), expected=SCHEMA, where=path
        )
    table: KernelTable = decode(data, KernelTable, where=str(path), error=ProjectError)
    wrong = [text for text in (*table.compute_capabilities, table.ptx) if not _is_number(text)]
    if wrong:
        raise ProjectError(
            "not a compute capability", found=wrong[0], expected='like "8.6"', where=path
        )
    odd = [n for n in table.padded_head_sizes if n < 16 or n % 16]
    if odd:
        raise ProjectError(
            "padded_head_sizes are multiples of 16, the depth of one mma",
            found=odd[0],
            expected="16, 32, 48, ...",
            where=path,
        )
    return table


def _is_number(text: str) -> bool:
    return CAPABILITY.fullmatch(text) is not None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def check_capability(table: KernelTable, wanted: str) -> None:
    """BuildError where the kernels are not built for a GPU of this compute capability."""
    if not _is_number(wanted):
        raise ProjectError(
            f"{wanted!r} is not a compute capability", expected='two numbers, as "8.6", or ptx'
        )
    known = [_version(text) for text in table.compute_capabilities]
    if _version(wanted) < min(known):
        raise BuildError(
            f"the kernels of {table.op} need a newer GPU than one of compute capability {wanted}",
            expected=", ".join(table.compute_capabilities),
            hint="compile models for it with --attention builtin",
        )
    if wanted not in table.compute_capabilities:
        raise BuildError(
            f"the kernels of {table.op} are not built for compute capability {wanted}",
            expected=", ".join(table.compute_capabilities),
            hint="a newer GPU runs the PTX: mmedge kernels build --compute-capability ptx",
        )


def instances(table: KernelTable, compute_capability: str) -> list[Instance]:
    """All that is compiled for a GPU, with the tile shapes that the table gives it there."""
    pairs = itertools.product(table.dtypes, table.padded_head_sizes)
    return [_instance(table, dtype, heads, compute_capability) for dtype, heads in pairs]


def _instance(table: KernelTable, dtype: str, heads: int, compute_capability: str) -> Instance:
    forward, decoding = table.tiles.forward, table.tiles.decode
    for special in table.tiles.special:
        if special.fits(heads, compute_capability):
            forward = special.forward or forward
            decoding = special.decode or decoding
    return Instance(dtype, heads, forward, decoding)
