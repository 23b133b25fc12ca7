"""The GPU of this machine as its driver tells it, asked for without any CUDA library."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

from mmedge.errors import MissingDependencyError

# The driver's own library; on Linux the name with the 1 is the one that a driver installs.
DRIVER_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
# CUdevice_attribute of cuda.h: numbers that are part of its binary interface.
MULTIPROCESSOR_COUNT, INTEGRATED, MAJOR, MINOR = 16, 18, 75, 76
L4T_FILE = Path("/etc/nv_tegra_release")


@dataclass(frozen=True)
class Gpu:
    """What an engine may be tied to.

    compute_capability: as "8.6". cuda: the newest CUDA that the driver supports, as "13.0".
    unified: host and device share their memory, as on Jetson.
    """

    name: str
    compute_capability: str
    sm_count: int
    memory_bytes: int
    unified: bool
    cuda: str


def find_gpu(*, libraries: tuple[str, ...] = DRIVER_LIBRARIES) -> Gpu:
    """The first GPU that the driver shows (CUDA_VISIBLE_DEVICES counts).

    Raises MissingDependencyError where there is no driver, or no GPU.
    """
    driver = _load(libraries)
    _call(driver, "cuInit", 0)
    version, device = ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDriverGetVersion", ctypes.byref(version))
    _call(driver, "cuDeviceGet", ctypes.byref(device), 0)
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _call(driver, "cuDeviceGetName", name, len(name), device)
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major, minor = (_attribute(driver, device, which) for which in (MAJOR, MINOR))
    return Gpu(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{major}.{minor}",
        sm_count=_attribute(driver, device, MULTIPROCESSOR_COUNT),
        memory_bytes=memory.value,
        unified=bool(_attribute(driver, device, INTEGRATED)),
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def l4t_release(file: Path = L4T_FILE) -> str | None:
    """The Linux for Tegra release of a Jetson, as "36.4.3"; None on any other machine."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", text)
    return f"{found[1]}.{found[2]}" if found else None


def _load(libraries: tuple[str, ...]) -> ctypes.CDLL:
    for name in libraries:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise MissingDependencyError(
        "this machine has no NVIDIA driver",
        found=f"no {libraries[0]}",
        hint="install the NVIDIA driver (nvidia-smi tells), or run an engine that needs no GPU",
    )


def _call(driver: ctypes.CDLL, function: str, *arguments: object) -> None:
    code = getattr(driver, function)(*arguments)
    if code != 0:
        # cuGetErrorName is as old as the oldest driver that any TensorRT here runs on.
        name = ctypes.c_char_p()
        driver.cuGetErrorName(code, ctypes.byref(name))
        raise MissingDependencyError(
            "the NVIDIA driver shows no GPU that can be used",
            found=f"{function}: {(name.value or b'error').decode()} ({code})",
            hint="nvidia-smi tells what the driver sees; CUDA_VISIBLE_DEVICES may hide it",
        )


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, which: int) -> int:
    value = ctypes.c_int()
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(value), which, device)
    return value.value
