"""What a measurement ran on, and what else that machine was doing meanwhile."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mmedge.profiling.procfs import (
    CpuTicks,
    governors,
    max_frequency_mhz,
    parse_cpu_model,
    parse_cpu_ticks,
    parse_hypervisor,
    parse_load_average,
    parse_memory_bytes,
    read_text,
    throttle_counts,
)

ROOT = Path("/")
FREQUENCY_TOLERANCE = 0.05
# The kernel accounts CPU time in ticks of 10 ms or so; below 50 of them, rounding on a few cores
# looks like a busy neighbour.
SHORTEST_TICKS = 50


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine of a measurement; None is what the system does not say.

    usable_cores: those this process may run on.
    board: the device tree's model, on boards that have one ("NVIDIA Jetson Orin NX ...").
    current_mhz, max_mhz: of the fastest core.
    load_average: of the last minute, in runnable processes.
    hypervisor: whether this is a virtual machine.
    """

    cpu_model: str | None
    board: str | None
    architecture: str | None
    usable_cores: int | None
    memory_bytes: int | None
    system: str | None
    kernel: str | None
    governor: str | None
    current_mhz: float | None
    max_mhz: float | None
    load_average: float | None
    hypervisor: bool | None
    python: str


def fingerprint(*, root: Path = ROOT) -> Machine:
    """Describe this machine; `root` is where /proc and /sys are."""
    cpuinfo = read_text(root / "proc/cpuinfo") or ""
    board = read_text(root / "proc/device-tree/model") or ""
    return Machine(
        cpu_model=parse_cpu_model(cpuinfo),
        board=board.strip("\0\n ") or None,
        architecture=platform.machine() or None,
        usable_cores=_usable_cores(),
        memory_bytes=parse_memory_bytes(read_text(root / "proc/meminfo") or ""),
        system=platform.system() or None,
        kernel=platform.release() or None,
        governor=governors(root),
        current_mhz=max_frequency_mhz(root, "scaling_cur_freq"),
        max_mhz=max_frequency_mhz(root, "cpuinfo_max_freq"),
        load_average=parse_load_average(read_text(root / "proc/loadavg") or ""),
        hypervisor=parse_hypervisor(cpuinfo),
        python=platform.python_version(),
    )


@dataclass
class Dirtiness:
    """What disturbed a measurement; filled in when the block of `watch` ends.

    other_cores: CPU time of other processes over wall time; 0.5 is half a core. Children count
        as others until they are waited for. None where not known or too short to tell.
    stolen_cores: the same, of what the hypervisor took.
    throttle_events: thermal throttling events, None where the system does not count them.
    """

    busy_limit_cores: float
    wall_seconds: float | None = None
    other_cores: float | None = None
    stolen_cores: float | None = None
    throttle_events: int | None = None
    mhz_before: float | None = None
    mhz_after: float | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for each disturbance; RuntimeError while the measurement still runs."""
        if self.wall_seconds is None:
            raise RuntimeError("the measurement that is watched has not ended")
        limit = f"(the limit is {self.busy_limit_cores:.2f})"
        reasons = []
        if self.other_cores is not None and self.other_cores > self.busy_limit_cores:
            reasons.append(f"Other processes used {self.other_cores:.2f} cores {limit}.")
        if self.stolen_cores is not None and self.stolen_cores > self.busy_limit_cores:
            reasons.append(f"The hypervisor took {self.stolen_cores:.2f} cores {limit}.")
        if self.throttle_events:
            reasons.append(f"The CPU was hot: {self.throttle_events} throttling events.")
        if self.mhz_before and self.mhz_after and _changed(self.mhz_before, self.mhz_after):
            reasons.append(
                f"The CPU clock went from {self.mhz_before:.0f} to {self.mhz_after:.0f} MHz."
            )
        return tuple(reasons)

    @property
    def dirty(self) -> bool:
        """Whether there is any reason to distrust the measurement."""
        return bool(self.reasons)


@contextmanager
def watch(*, busy_limit_cores: float = 0.1, root: Path = ROOT) -> Iterator[Dirtiness]:
    """Note what disturbs the machine while the block runs, for `Dirtiness` to tell afterwards."""
    dirtiness = Dirtiness(busy_limit_cores)
    before = _Snapshot.take(root)
    yield dirtiness
    _compare(dirtiness, before, _Snapshot.take(root))


@dataclass(frozen=True)
class _Snapshot:
    seconds: float
    ticks: CpuTicks | None
    own_cpu_seconds: float
    throttles: dict[str, int]
    mhz: float | None

    @classmethod
    def take(cls, root: Path) -> _Snapshot:
        times = os.times()
        return cls(
            seconds=time.perf_counter(),
            ticks=parse_cpu_ticks(read_text(root / "proc/stat") or ""),
            own_cpu_seconds=sum(times[:4]),
            throttles=throttle_counts(root),
            mhz=max_frequency_mhz(root, "scaling_cur_freq"),
        )


def _compare(dirtiness: Dirtiness, before: _Snapshot, after: _Snapshot) -> None:
    dirtiness.wall_seconds = wall = after.seconds - before.seconds
    dirtiness.mhz_before, dirtiness.mhz_after = before.mhz, after.mhz
    shared = before.throttles.keys() & after.throttles.keys()
    if shared:
        dirtiness.throttle_events = sum(after.throttles[k] - before.throttles[k] for k in shared)
    hertz = os.sysconf("SC_CLK_TCK")
    if before.ticks and after.ticks and wall * hertz >= SHORTEST_TICKS:
        busy_seconds = (after.ticks.busy - before.ticks.busy) / hertz
        own_seconds = after.own_cpu_seconds - before.own_cpu_seconds
        dirtiness.other_cores = max(0.0, busy_seconds - own_seconds) / wall
        dirtiness.stolen_cores = (after.ticks.steal - before.ticks.steal) / hertz / wall


def _changed(before_mhz: float, after_mhz: float) -> bool:
    return abs(after_mhz - before_mhz) > FREQUENCY_TOLERANCE * before_mhz


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
