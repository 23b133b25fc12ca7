"""What each variant of a kernel takes of a GPU, from ptxas's report and the library itself."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from mmedge.errors import BuildError
from mmedge.kernels.kernel_table import Budgets
from mmedge.kernels.occupancy import occupancy

ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_\w+'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")
STATIC_SHARED = re.compile(r"(\d+) bytes smem")
# TileShape<dtype, padded head size, rows, keys, with bias, split>, as its name is mangled.
VARIANT = re.compile(r"TileShapeI\d+([A-Z]\w*?)Li(\d+)ELi(\d+)ELi(\d+)ELb([01])ELb([01])E")
DTYPES = ("Fp16", "Bf16")  # as attention.h numbers them


class Resources(msgspec.Struct, frozen=True):
    """One compiled kernel.

    registers, stack_bytes and spilled_bytes are of a thread; threads and shared_bytes of a block.
    occupancy: the share of a multiprocessor's warps that it can fill; None where not known.
    """

    name: str
    registers: int
    stack_bytes: int
    spilled_bytes: int
    threads: int | None = None
    shared_bytes: int = 0
    occupancy: float | None = None


def read_report(report: str) -> dict[str, Resources]:
    """Mangled name -> what `nvcc -Xptxas -v` said of it.

    BuildError where a kernel's figures are not there: another compiler, another report.
    """
    parts = ENTRY.split(report)[1:]
    return {name: _figures(name, text) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def _figures(name: str, text: str) -> Resources:
    stack, registers = STACK.search(text), REGISTERS.search(text)
    if stack is None or registers is None:
        raise BuildError(
            "nvcc's report has no figures of a kernel",
            found=text.strip()[:300],
            expected="lines of ptxas -v",
            where=name,
        )
    shared = STATIC_SHARED.search(text)
    return Resources(
        readable(name),
        int(registers[1]),
        int(stack[1]),
        int(stack[2]) + int(stack[3]),
        shared_bytes=int(shared[1]) if shared else 0,
    )


def readable(mangled: str) -> str:
    """The variant that a mangled name is of: "fp16 head 64 128x64 bias"."""
    found = VARIANT.search(mangled)
    if found is None:
        return mangled
    dtype, head, rows, keys, bias, split = found.groups()
    words = ["split" if split == "1" else "", "bias" if bias == "1" else ""]
    return " ".join([f"{dtype.lower()} head {head} {rows}x{keys}", *filter(None, words)])


def with_launches(
    reports: Iterable[dict[str, Resources]], library: Path, compute_capability: str
) -> list[Resources]:
    """The reports with what the library in `library` asks for when it launches each kernel."""
    launches = dict(_launches(library))
    found = (item for report in reports for item in report.values())
    return [_completed(item, launches, compute_capability) for item in found]


def _completed(
    item: Resources, launches: dict[str, tuple[int, int]], compute_capability: str
) -> Resources:
    launch = launches.get(item.name.removesuffix(" bias"))
    if launch is None:  # a kernel beside the variants, such as the merging of split keys
        return item
    threads, dynamic = launch
    shared = item.shared_bytes + dynamic
    share = occupancy(
        compute_capability, registers=item.registers, threads=threads, shared_bytes=shared
    )
    return msgspec.structs.replace(item, threads=threads, shared_bytes=shared, occupancy=share)


def _launches(library: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Readable name -> threads and bytes of shared memory of a block."""
    tell = ctypes.CDLL(str(library)).mmedge_attention_variants
    tell.restype = ctypes.c_char_p
    for line in tell().decode().splitlines():
        dtype, head, split, rows, keys, threads, shared = map(int, line.split())
        name = f"{DTYPES[dtype].lower()} head {head} {rows}x{keys}" + " split" * split
        yield name, (threads, shared)


def check_budgets(resources: Sequence[Resources], budgets: Budgets, *, where: str) -> None:
    """BuildError with every variant that takes more than the table allows."""
    over = [
        f"{item.name}: {taken} {what}, {allowed} allowed"
        for item in resources
        for what, taken, allowed in (
            ("bytes spilled", item.spilled_bytes, budgets.spilled_bytes),
            ("registers", item.registers, budgets.registers),
            ("bytes of shared memory", item.shared_bytes, budgets.shared_bytes),
        )
        if taken > allowed
    ]
    if over:
        raise BuildError(
            f"kernels for {where} take more of the GPU than kernel.toml allows",
            found="\n".join(over),
            hint="smaller tiles, in [[tiles.special]]; or a budget that says so",
        )
