"""Samples on disk are the samples, and leave nothing behind."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from mmedge.data.mapped_samples import LEAST_BYTES, mapped
from mmedge.mapped_files import mapped_files
from mmedge.stage import Samples


@pytest.fixture
def samples() -> Samples:
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(3, LEAST_BYTES // 4)).astype(np.float32)
    group = {"pixel_values": pixels[::-1], "input_ids": np.arange(6).reshape(3, 2)}
    return Samples((group,), [1, 2, 3], 3, "made up", real=False)


def test_the_arrays_are_the_same(samples: Samples, tmp_path: Path) -> None:
    kept = mapped(samples, tmp_path / "new")
    for name, array in samples.groups[0].items():
        found = kept.groups[0][name]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(kept.first(4)["pixel_values"], samples.first(4)["pixel_values"])
    assert (kept.targets, kept.count, kept.origin) == ([1, 2, 3], 3, "made up")


def test_only_large_arrays_are_mapped(samples: Samples, tmp_path: Path) -> None:
    (group,) = mapped(samples, tmp_path).groups
    assert isinstance(group["pixel_values"], np.memmap)
    assert not isinstance(group["input_ids"], np.memmap)


def test_the_files_go_with_the_samples(samples: Samples, tmp_path: Path) -> None:
    kept = mapped(samples, tmp_path)
    assert not any(tmp_path.iterdir())
    assert any(str(tmp_path) in mapping.path for mapping in mapped_files())
    del kept
    gc.collect()
    assert not any(str(tmp_path) in mapping.path for mapping in mapped_files())


def test_writing_changes_no_other_copy(samples: Samples, tmp_path: Path) -> None:
    kept = mapped(samples, tmp_path).groups[0]["pixel_values"]
    before = float(samples.groups[0]["pixel_values"][0, 0])
    kept[0, 0] = before + 1
    assert float(samples.groups[0]["pixel_values"][0, 0]) == before


def test_where_nothing_can_be_written_they_stay_in_memory(samples: Samples, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    assert mapped(samples, blocked) is samples
