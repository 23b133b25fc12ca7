"""Pages of mapped files: given back where they were only read, never where they were changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmedge.mapped_files import mapped_files, release_clean_pages

SIZE = 8 << 20
pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a name with spaces"
    np.arange(SIZE // 8).tofile(path)
    return path


def resident(path: Path) -> int:
    return sum(item.resident_bytes for item in mapped_files() if item.path == str(path))


@pytest.mark.parametrize("mode", ["r", "c"], ids=["read-only", "copy-on-write"])
def test_pages_that_were_read_are_given_back_and_read_again(file: Path, mode: str) -> None:
    mapped = np.memmap(file, dtype=np.int64, mode=mode)  # type: ignore[call-overload]
    total = int(mapped.sum())
    assert resident(file) == SIZE
    assert release_clean_pages() >= SIZE
    assert resident(file) == 0
    assert int(mapped.sum()) == total


def test_a_mapping_that_was_written_to_is_left_alone(file: Path) -> None:
    mapped = np.memmap(file, dtype=np.int64, mode="c")
    mapped.sum()
    mapped[12345] = -7
    release_clean_pages()
    assert mapped[12345] == -7
    assert resident(file) > SIZE // 2


def test_small_mappings_stay(file: Path) -> None:
    mapped = np.memmap(file, dtype=np.int64, mode="r")
    mapped.sum()
    release_clean_pages(at_least=SIZE + 1)
    assert resident(file) > 0


def test_memory_without_a_file_is_no_mapped_file() -> None:
    assert all(item.path.startswith("/") for item in mapped_files())


def test_no_proc_is_no_mapping(tmp_path: Path) -> None:
    assert mapped_files(tmp_path / "smaps") == ()
