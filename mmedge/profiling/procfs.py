"""Reading Linux's /proc and /sys text: parsers take text, and None stands for what is not there."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

CPU_DIRECTORY = "sys/devices/system/cpu"


class CpuTicks(msgspec.Struct, frozen=True):
    """Time of all CPUs since boot, in clock ticks.

    busy: user, nice, system, interrupts; not idle, not waiting for a disk.
    steal: what the hypervisor gave to others while a CPU here had work.
    """

    busy: int
    steal: int


def read_text(path: Path) -> str | None:
    """The file's text, None if it can't be read (absent, forbidden, a device that is off)."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """The whole number that is all of the file's text, else None."""
    text = (read_text(path) or "").strip()
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else None


def parse_cpu_model(cpuinfo: str) -> str | None:
    """The processor's name; AArch64 kernels often give none."""
    match = re.search(r"^model name[ \t]*:[ \t]*(\S.*?)[ \t]*$", cpuinfo, re.MULTILINE)
    return match[1] if match else None


def parse_hypervisor(cpuinfo: str) -> bool | None:
    """Whether the CPU says that it is virtual; None where it lists no x86 flags."""
    match = re.search(r"^flags[ \t]*:(.*)$", cpuinfo, re.MULTILINE)
    return "hypervisor" in match[1].split() if match else None


def parse_memory_bytes(meminfo: str) -> int | None:
    """MemTotal of /proc/meminfo in bytes."""
    match = re.search(r"^MemTotal:\s*(\d+) kB$", meminfo, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def parse_load_average(loadavg: str) -> float | None:
    """The load average of the last minute."""
    match = re.match(r"(\d+\.\d+)\s", loadavg)
    return float(match[1]) if match else None


def parse_cpu_ticks(stat: str) -> CpuTicks | None:
    """The sum over CPUs, from /proc/stat (proc_stat(5): guest time is within user time)."""
    match = re.search(r"^cpu +((?:\d+ ?){7,})", stat, re.MULTILINE)
    if match is None:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, *rest = map(int, match[1].split())
    return CpuTicks(busy=user + nice + system + irq + softirq, steal=rest[0] if rest else 0)


def max_frequency_mhz(root: Path, file: str) -> float | None:
    """The highest value of a cpufreq file (kHz) over the CPUs, in MHz."""
    values = [read_int(path) for path in (root / CPU_DIRECTORY).glob(f"cpu[0-9]*/cpufreq/{file}")]
    known = [value for value in values if value is not None and value > 0]
    return max(known) / 1000 if known else None


def governors(root: Path) -> str | None:
    """The frequency governors in use, "performance" or "performance, powersave"."""
    paths = (root / CPU_DIRECTORY).glob("cpu[0-9]*/cpufreq/scaling_governor")
    names = {(read_text(path) or "").strip() for path in paths} - {""}
    return ", ".join(sorted(names)) or None


def throttle_counts(root: Path) -> dict[str, int]:
    """Thermal throttling events so far, by counter ("cpu0/core_throttle_count")."""
    directory = root / CPU_DIRECTORY
    counts = {
        f"{path.parent.parent.name}/{path.name}": read_int(path)
        for path in sorted(directory.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
    }
    return {name: count for name, count in counts.items() if count is not None}
