"""A format that this machine could not prove is refused before there is a graph."""

from __future__ import annotations

import msgspec
import pytest

from mmedge.errors import ProjectError
from mmedge.graph.precision.provable import check_provable
from mmedge.precision_check import check_precision
from mmedge.targets import list_targets, load_target


@pytest.mark.parametrize("name", [t.name for t in list_targets() if "bf16" in t.precisions])
def test_bfloat16_is_refused_and_what_is_advised_is_not(name: str) -> None:
    target = load_target(name)
    with pytest.raises(ProjectError, match="no graph can be verified in bf16") as caught:
        check_provable(target, "bf16")
    assert "MatMul" in str(caught.value)
    advised = str(caught.value.details["try"]).removeprefix("--precision ").split(",")[0]
    check_precision(target, advised)
    check_provable(target, advised)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "int8"])
def test_what_onnxruntime_computes_is_not_refused(precision: str) -> None:
    check_provable(load_target("rtx-3060-12g"), precision)


def test_a_provider_that_has_kernels_proves_it() -> None:
    """The table of kernels has those of the providers that this ONNX Runtime was built with."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    narrow = msgspec.structs.replace(load_target("cpu"), providers=("CUDAExecutionProvider",))
    there = {kernel.provider for kernel in state.get_all_opkernel_def()}
    if "CUDAExecutionProvider" in there:
        check_provable(narrow, "bf16")
    else:
        with pytest.raises(ProjectError, match="CUDAExecutionProvider of ONNX Runtime has none"):
            check_provable(narrow, "bf16")
