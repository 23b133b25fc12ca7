"""`driver.c` compiled: a CUDA driver without a GPU, for the real packages that call one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "runtime" / "device" / "driver.c"


def build_driver(directory: Path, *, status: int = 0) -> Path:
    """libcuda.so.1 in `directory`; status: what its cuInit answers. Skips without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    directory.mkdir(exist_ok=True)
    library = directory / "libcuda.so.1"
    flags = ["-shared", "-fPIC", f"-DSTATUS={status}", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([compiler, *flags, str(SOURCE), "-o", str(library), "-ldl"], check=True)
    return library
