"""Memory and disk that are left: of the machine, and of a control group of either version."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmedge.machine_limits import Available, available_memory, free_disk_bytes, same_disk

MB = 1 << 20


def write(root: Path, files: dict[str, object]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    """/proc with 800 MB available, and no control group."""
    write(tmp_path, {"proc/meminfo": f"MemTotal: 900 kB\nMemAvailable: {800 * MB // 1024} kB"})
    return tmp_path / "proc", tmp_path / "cgroup"


def test_the_machine(roots: tuple[Path, Path]) -> None:
    assert available_memory(*roots) == Available(800 * MB, "the machine")


def test_here_there_is_some() -> None:
    found = available_memory()
    assert found is not None
    assert found.size_bytes > MB
    assert free_disk_bytes(Path("/nowhere/at/all")) == free_disk_bytes(Path("/"))


def test_nothing_is_known(tmp_path: Path) -> None:
    assert available_memory(tmp_path, tmp_path) is None


def test_version_2_of_the_group_and_of_those_above(roots: tuple[Path, Path]) -> None:
    write(roots[0], {"self/cgroup": "0::/outer/inner"})
    write(
        roots[1],
        {
            "outer/memory.max": 500 * MB,
            "outer/memory.current": 450 * MB,
            "outer/memory.stat": f"anon 5\ninactive_file {20 * MB}",
            "outer/inner/memory.max": "max",
            "outer/inner/memory.current": 300 * MB,
        },
    )
    assert available_memory(*roots) == Available(70 * MB, "its control group")


@pytest.mark.parametrize("group", ["memory/box", "memory"], ids=["on the host", "in a container"])
def test_version_1(roots: tuple[Path, Path], group: str) -> None:
    write(roots[0], {"self/cgroup": "5:cpu:/x\n4:memory,other:/box\n0::/"})
    stat = f"hierarchical_memory_limit {400 * MB}\ntotal_inactive_file {30 * MB}"
    write(roots[1], {f"{group}/memory.stat": stat, f"{group}/memory.usage_in_bytes": 100 * MB})
    assert available_memory(*roots) == Available(330 * MB, "its control group")


def test_version_1_without_a_limit(roots: tuple[Path, Path]) -> None:
    write(roots[0], {"self/cgroup": "4:memory:/box"})
    stat = "hierarchical_memory_limit 9223372036854771712"
    write(roots[1], {"memory/memory.stat": stat, "memory/memory.usage_in_bytes": 100})
    assert available_memory(*roots) == Available(800 * MB, "the machine")


def test_a_used_up_limit_is_nothing_left(roots: tuple[Path, Path]) -> None:
    write(roots[0], {"self/cgroup": "0::/"})
    write(roots[1], {"memory.max": 10, "memory.current": 20})
    assert available_memory(*roots) == Available(0, "its control group")


def test_disks(tmp_path: Path) -> None:
    assert same_disk(tmp_path / "a" / "b", tmp_path / "c")
    assert not same_disk(tmp_path, Path("/proc/self"))
