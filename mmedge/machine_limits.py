"""How much memory and disk this process may still take: the machine's, or its control group's."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
# A limit of control groups version 1 that is none: 2^63 rounded down to a page.
_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class Available:
    """Bytes of memory that are there; `whose` says of the machine or of a control group."""

    size_bytes: int
    whose: str


def available_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> Available | None:
    """The smallest of what the machine and its control groups have left; None where unknown.

    Memory that only caches files counts as there: the system gives it up when it is needed.
    """
    found = [_machine(proc), *_version_2(proc, cgroups), *_version_1(proc, cgroups)]
    known = [available for available in found if available is not None]
    return min(known, key=lambda available: available.size_bytes, default=None)


def free_disk_bytes(directory: Path) -> int | None:
    """What can still be written below `directory`, which need not exist yet."""
    there = next((p for p in (directory, *directory.parents) if p.exists()), None)
    try:
        return shutil.disk_usage(there).free if there else None
    except OSError:
        return None


def same_disk(first: Path, second: Path) -> bool:
    """Whether both lie, or will lie, on one file system."""
    devices = {
        next((p.stat().st_dev for p in (path, *path.parents) if p.exists()), None)
        for path in (first.absolute(), second.absolute())
    }
    return len(devices) == 1


def _machine(proc: Path) -> Available | None:
    value = _fields(proc / "meminfo").get("MemAvailable:")
    return None if value is None else Available(value * 1024, "the machine")


def _version_2(proc: Path, cgroups: Path) -> list[Available]:
    """Of the process's own group and of every one above it: the limit of each holds."""
    path = _group(proc, "")
    found = []
    while path is not None:
        group = cgroups / path.lstrip("/")
        limit, used = _number(group / "memory.max"), _number(group / "memory.current")
        cache = _fields(group / "memory.stat").get("inactive_file", 0)
        if limit is not None and used is not None:
            found.append(Available(max(0, limit - used + cache), "its control group"))
        path = path.rpartition("/")[0] if path.strip("/") else None
    return found


def _version_1(proc: Path, cgroups: Path) -> list[Available]:
    path = _group(proc, "memory")
    if path is None:
        return []
    # In a container its own group is mounted as the root.
    groups = [cgroups / "memory" / path.lstrip("/"), cgroups / "memory"]
    group = next((g for g in groups if (g / "memory.stat").exists()), None)
    if group is None:
        return []
    stat, used = _fields(group / "memory.stat"), _number(group / "memory.usage_in_bytes")
    limit = stat.get("hierarchical_memory_limit", _NO_LIMIT)
    if used is None or limit >= _NO_LIMIT:
        return []
    left = limit - used + stat.get("total_inactive_file", 0)
    return [Available(max(0, left), "its control group")]


def _group(proc: Path, controller: str) -> str | None:
    """The process's group: lines of /proc/self/cgroup are "number:controllers:path"."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return None
    parts = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    return next((p[2] for p in parts if controller in p[1].split(",")), None)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max" is no limit
        return None


def _fields(file: Path) -> dict[str, int]:
    """Lines of "name number" or "name: number kB"; none where the file is not there."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}
