"""The driver is asked through its C interface; here it is answered by a small driver of our own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mmedge.errors import MissingDependencyError
from mmedge.runtime.device.gpu import Gpu, find_gpu, l4t_release
from mmedge.runtime.device.open_device import open_device

# The numbers are of cuda.h: CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT 16, INTEGRATED 18,
# COMPUTE_CAPABILITY_MAJOR 75 and MINOR 76; CUDA_ERROR_NO_DEVICE 100.
DRIVER = """
#include <string.h>
#include <stddef.h>
int cuInit(unsigned flags) { return STATUS; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 7; return ordinal; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Orin", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 8000000000; return 0; }
int cuGetErrorName(int code, const char **name) { *name = "CUDA_ERROR_NO_DEVICE"; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == 16 ? 8 : which == 18 ? 1 : which == 75 ? 8 : which == 76 ? 7 : -1;
    return device == 7 ? 0 : 1;
}
"""


def driver(directory: Path, *, status: int) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = directory / "driver.c", directory / f"libcuda-{status}.so"
    source.write_text(DRIVER)
    flags = ["-shared", "-fPIC", "-w", f"-DSTATUS={status}"]
    subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True)
    return str(library)


def test_a_gpu_is_what_its_driver_says(tmp_path: Path) -> None:
    libraries = ("no-such-library.so", driver(tmp_path, status=0))
    assert find_gpu(libraries=libraries) == Gpu(
        "Orin", "8.7", sm_count=8, memory_bytes=8_000_000_000, unified=True, cuda="12.6"
    )


def test_a_driver_without_a_gpu_is_told_from_no_driver(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="shows no GPU") as caught:
        find_gpu(libraries=(driver(tmp_path, status=100),))
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
