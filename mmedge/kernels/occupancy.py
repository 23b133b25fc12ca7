"""How many warps of a kernel one multiprocessor holds at a time, by what each takes of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from mmedge.errors import ProjectError
from mmedge.strict import decode, read_toml

DATA = Path(__file__).with_name("multiprocessors.toml")
KIBI = 1024


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all multiprocessors have alike; the units are explained in the file."""

    warp: int
    registers_kibi: int
    register_unit: int
    partitions: int
    reserved_shared_bytes: int
    shared_unit_bytes: int


class Multiprocessor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most of each that one multiprocessor has."""

    threads: int
    blocks: int
    shared_kib: int


def occupancy(
    compute_capability: str, *, registers: int, threads: int, shared_bytes: int
) -> float | None:
    """The share of the warps that can be resident which are; None for a GPU that is not known.

    registers: of one thread. threads, shared_bytes: of one block.
    """
    common, known = _limits()
    limits = known.get(compute_capability)
    if limits is None:
        return None
    warps = _divide_up(threads, common.warp)
    blocks = min(
        limits.blocks,
        limits.threads // (warps * common.warp),
        _by_registers(common, registers) // warps,
        _by_shared_memory(common, limits, shared_bytes),
    )
    return blocks * warps * common.warp / limits.threads


def _by_registers(common: Common, registers: int) -> int:
    """Warps that the registers are enough for; each lives in one partition of them."""
    each = _divide_up(max(registers, 1) * common.warp, common.register_unit) * common.register_unit
    return common.registers_kibi * KIBI // common.partitions // each * common.partitions


def _by_shared_memory(common: Common, limits: Multiprocessor, wanted: int) -> int:
    unit = common.shared_unit_bytes
    each = _divide_up(wanted + common.reserved_shared_bytes, unit) * unit
    return limits.shared_kib * KIBI // each


def _divide_up(value: int, by: int) -> int:
    return -(-value // by)


@cache
def _limits() -> tuple[Common, dict[str, Multiprocessor]]:
    data, where = read_toml(DATA), str(DATA)
    common: Common = decode(data.pop("all"), Common, where=where, error=ProjectError)
    known = {
        name: decode(limits, Multiprocessor, where=where, error=ProjectError)
        for name, limits in data.items()
    }
    return common, known
