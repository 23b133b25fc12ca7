"""Energy of the CPU packages, from RAPL counters under /sys/class/powercap (Intel and AMD).

Most virtual machines have no such counters and most systems let only root read them; everything
here is then None, never 0. Reference: Documentation/power/powercap/powercap.rst of the kernel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from mmedge.profiling.procfs import read_int, read_text

POWERCAP = Path("/sys/class/powercap")


class Counter(msgspec.Struct, frozen=True):
    """An energy counter in microjoules, which goes from `range_uj` back to 0."""

    energy_uj: int
    range_uj: int


class InferenceEnergy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Energy of a run of inferences on the CPU packages, without memory, disk and board.

    joules_per_inference: above the idle baseline; None if the run did not use more than idling.
    joules: of the whole run, idle included.
    """

    joules_per_inference: float | None
    joules: float
    idle_power_w: float
    seconds: float
    count: int


def read_counters(*, root: Path = POWERCAP) -> dict[str, Counter] | None:
    """Zone -> counter of every CPU package; None where there is none or one can't be read.

    Only package zones: their sub-zones (core, uncore) are part of them, and psys contains them.
    """
    counters = {}
    for zone in sorted(root.glob("intel-rapl:*")):
        if not (read_text(zone / "name") or "").startswith("package"):
            continue
        energy_uj, range_uj = read_int(zone / "energy_uj"), read_int(zone / "max_energy_range_uj")
        if energy_uj is None or range_uj is None:
            return None
        counters[zone.name] = Counter(energy_uj, range_uj)
    return counters or None


def joules_between(before: Mapping[str, Counter], after: Mapping[str, Counter]) -> float:
    """Joules used between two readings of the same zones, at most one wraparound apart.

    A package at 100 W wraps after some 45 minutes: measure for less. Raises ValueError for
    different zones.
    """
    if before.keys() != after.keys():
        raise ValueError(f"different zones: {sorted(before)} before, {sorted(after)} after")
    return sum(_difference_uj(before[zone], after[zone]) for zone in before) / 1e6


def idle_power_w(*, seconds: float, root: Path = POWERCAP) -> float | None:
    """Mean watts of the packages while this process sleeps; None where there are no counters."""
    measured = _measure(lambda: time.sleep(seconds), root)
    return measured[0] / measured[1] if measured else None


def measure_energy(
    infer: Callable[[], object],
    *,
    count: int,
    idle_seconds: float = 2.0,
    root: Path = POWERCAP,
) -> InferenceEnergy | None:
    """Energy of `count` calls above an idle baseline measured first; None without counters.

    Raises ValueError for a count below 1 or an idle time that is not above 0.
    """
    if count < 1 or idle_seconds <= 0:
        raise ValueError(
            f"at least one call and an idle time are needed: {count=}, {idle_seconds=}"
        )
    idle_w = idle_power_w(seconds=idle_seconds, root=root)
    if idle_w is None:
        return None
    measured = _measure(lambda: _repeat(infer, count), root)
    if measured is None:
        return None
    joules, seconds = measured
    above_idle = joules - idle_w * seconds
    return InferenceEnergy(
        joules_per_inference=above_idle / count if above_idle > 0 else None,
        joules=joules,
        idle_power_w=idle_w,
        seconds=seconds,
        count=count,
    )


def _measure(run: Callable[[], None], root: Path) -> tuple[float, float] | None:
    """Joules and seconds of a call."""
    before, start = read_counters(root=root), time.perf_counter()
    if before is None:
        return None
    run()
    seconds, after = time.perf_counter() - start, read_counters(root=root)
    if after is None or after.keys() != before.keys():
        return None
    return joules_between(before, after), seconds


def _repeat(call: Callable[[], object], count: int) -> None:
    for _ in range(count):
        call()


def _difference_uj(before: Counter, after: Counter) -> int:
    difference = after.energy_uj - before.energy_uj
    return difference if difference >= 0 else difference + before.range_uj
