"""What kernels there are, and whether they can be compiled here."""

from __future__ import annotations

from typing import Any

from mmedge.errors import MissingDependencyError
from mmedge.kernels.kernel_table import kernel_names, read_kernel_table
from mmedge.kernels.toolchain import find_toolchain


def overview() -> dict[str, Any]:
    """For `mmedge kernels list`: every table in short, and nvcc or why there is none."""
    facts: dict[str, Any] = {"kernels": [_row(name) for name in kernel_names()]}
    try:
        found = find_toolchain()
    except MissingDependencyError as error:
        hint = error.details["try"]
        return {**facts, "nvcc": None, "no_nvcc": f"{error.what}: {hint}"}
    return {**facts, "nvcc": {"path": str(found.nvcc), "version": found.version}, "no_nvcc": None}


def _row(name: str) -> dict[str, Any]:
    table = read_kernel_table(name)
    return {
        "kernel": name,
        "op": table.op,
        "dtypes": list(table.dtypes),
        "padded_head_sizes": list(table.padded_head_sizes),
        "compute_capabilities": list(table.compute_capabilities),
        "ptx": table.ptx,
    }
