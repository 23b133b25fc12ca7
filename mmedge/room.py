"""Whether this machine has room for a compile: told before the work, not found out in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmedge.checkpoint.demand import Demand
from mmedge.errors import OutputError, ResourceError
from mmedge.machine_limits import Available, available_memory, free_disk_bytes, same_disk

IGNORE = "or --ignore-estimate, to try all the same"


@dataclass(frozen=True)
class Room:
    """What a compile is expected to take, and what is there for it.

    disks: a directory on each disk that is written to, and the bytes expected there.
    """

    demand: Demand
    memory: Available | None
    disks: tuple[tuple[Path, int], ...]

    @classmethod
    def of(cls, demand: Demand, *, cache: Path, output: Path) -> Room:
        """The room on this machine now, with the cache and the bundle where they will be."""
        # On the cache's disk the bundle's weights are a link.
        disks = [(cache, demand.cache)]
        if not same_disk(cache, output):
            disks.append((output, demand.bundle))
        return cls(demand, available_memory(), tuple(disks))

    def sentence(self) -> str:
        """The estimate, for the progress."""
        need = self.demand
        there = f"{_gb(self.memory.size_bytes)} are available" if self.memory else "available: ?"
        disk = sum(size for _, size in self.disks)
        return (
            f"expecting {_gb(need.peak)} of memory, {_gb(need.mapped)} of it mapped files "
            f"({there}), and {_gb(disk)} of disk"
        )

    def check(self) -> None:
        """Raise ResourceError where memory is too small, OutputError where a disk is.

        Mapped files don't count: the system takes their pages back, and reads them again.
        """
        if self.memory is not None and self.memory.size_bytes < self.demand.held:
            raise ResourceError(
                "there is not enough memory to compile this model",
                found=f"{_gb(self.memory.size_bytes)} that {self.memory.whose} has left",
                expected=f"{_gb(self.demand.held)}, and {_gb(self.demand.mapped)} more to be fast",
                hint=f"end other programs, or compile on a larger machine; {IGNORE}",
            )
        for directory, size in self.disks:
            free = free_disk_bytes(directory)
            if free is not None and free < size:
                raise OutputError(
                    "there is not enough disk to compile this model",
                    found=f"{_gb(free)} free",
                    expected=_gb(size),
                    where=directory,
                    hint="`mmedge cache --clear` empties the cache, $MMEDGE_CACHE moves it, "
                    f"-o the bundle; {IGNORE}",
                )

    def to_dict(self) -> dict[str, int | None]:
        """As the report has it, beside what was used."""
        return {
            "expected_peak_bytes": self.demand.peak,
            "expected_mapped_bytes": self.demand.mapped,
            "expected_disk_bytes": sum(size for _, size in self.disks),
            "available_bytes": self.memory.size_bytes if self.memory else None,
        }


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"
