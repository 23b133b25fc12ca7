"""What ONNX Runtime can compute in a narrow format on this machine: a graph is proved with it."""

from __future__ import annotations

from functools import cache

import onnx_ir as ir

from mmedge.graph.precision.formats import NarrowFormat
from mmedge.graph.provenance import module_path
from mmedge.optional import require

CPU = "CPUExecutionProvider"


def without_kernel(
    model: ir.Model, narrow: NarrowFormat, providers: tuple[str, ...] = (CPU,)
) -> dict[str, list[str]]:
    """Operator -> modules, of nodes with values in the format that no provider computes in it.

    ONNX Runtime itself computes in float32 what it has no float16 kernel for, never bfloat16.
    """
    found: dict[str, list[str]] = {}
    for node in model.graph:
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        if not any(value.dtype == narrow.dtype for value in values):
            continue
        if not has_kernel(node.op_type, node.domain, narrow, providers):
            found.setdefault(node.op_type, []).append(module_path(node))
    return found


def has_kernel(
    operator: str, domain: str, narrow: NarrowFormat, providers: tuple[str, ...]
) -> bool:
    """Whether a provider computes the operator in the format, or ONNX Runtime casts around it."""
    # ONNX Runtime casts between float32 and float16 around a kernel that it has in float32.
    kinds = {narrow.onnx, "tensor(float)"} if narrow.name == "fp16" else {narrow.onnx}
    return any(kinds & _kernels(provider).get((domain, operator), set()) for provider in providers)


@cache
def _kernels(provider: str) -> dict[tuple[str, str], set[str]]:
    """(domain, operator) -> the types that any version of its kernel has."""
    require("onnxruntime", purpose="proving a graph in a narrow format")
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found: dict[tuple[str, str], set[str]] = {}
    for kernel in state.get_all_opkernel_def():
        if kernel.provider == provider:
            domain = "" if kernel.domain == "ai.onnx" else kernel.domain
            types = found.setdefault((domain, kernel.op_name), set())
            types |= {kind for kinds in kernel.type_constraints.values() for kind in kinds}
    return found
