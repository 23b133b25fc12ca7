"""The driver is asked through its C interface; here a small driver of our own answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from host_driver import build_driver

from mmedge.errors import MissingDependencyError
from mmedge.runtime.device.gpu import Gpu, find_gpu, l4t_release
from mmedge.runtime.device.open_device import open_device


def test_a_gpu_is_what_its_driver_says(tmp_path: Path) -> None:
    libraries = ("no-such-library.so", str(build_driver(tmp_path)))
    assert find_gpu(libraries=libraries) == Gpu(
        "Host", "8.6", sm_count=28, memory_bytes=2**30, unified=False, cuda="13.0"
    )


def test_a_driver_without_a_gpu_is_told_from_no_driver(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="shows no GPU") as caught:
        find_gpu(libraries=(str(build_driver(tmp_path, status=100)),))
    assert caught.value.details["found"] == "cuInit: CUDA_ERROR_NO_DEVICE (100)"
    with pytest.raises(MissingDependencyError, match="has no NVIDIA driver"):
        find_gpu(libraries=("no-such-library.so",))


def test_a_device_needs_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_gpu, "__kwdefaults__", {"libraries": ("no-such-library.so",)})
    with pytest.raises(MissingDependencyError, match="has no NVIDIA driver"):
        open_device()


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64", "36.4.3"),
        ("# R35 (release), REVISION: 5.0, GCID: 35550185, BOARD: t186ref", "35.5.0"),
        ("something else", None),
        ("", None),
    ],
)
def test_the_l4t_release_is_read_where_there_is_one(
    tmp_path: Path, text: str, release: str | None
) -> None:
    (tmp_path / "nv_tegra_release").write_text(text)
    assert l4t_release(tmp_path / "nv_tegra_release") == release
    assert l4t_release(tmp_path / "none") is None
