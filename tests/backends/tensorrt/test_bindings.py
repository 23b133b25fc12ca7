"""Everything that mmedge calls is in every TensorRT that it says it supports."""

from __future__ import annotations

import functools
from pathlib import Path

import bindings_alone as bindings
import pytest

import mmedge.backends.tensorrt
import mmedge.runtime.tensorrt

PACKAGES = (mmedge.backends.tensorrt, mmedge.runtime.tensorrt)
# What the code asks for before it is used (`getattr`, `hasattr`): only some versions have it.
ASKED_FOR = {
    "IAttentionOutputLayer",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
}
# Methods of classes of ours, whose variables have such names.
OUR_OWN = {"IOptimizationProfile.takes", "IOptimizationProfile.sizes"}


def used() -> list[str]:
    files = [path for package in PACKAGES for path in Path(package.__path__[0]).glob("*.py")]
    names = {name for path in files for name in bindings.names_used(path.read_text())}
    return sorted(name for name in names if name not in OUR_OWN)


def test_what_is_used_is_found_in_the_code() -> None:
    assert {
        "BuilderFlag.TF32",
        "Builder.build_serialized_network",
        "IBuilderConfig.add_optimization_profile",
        "ICudaEngine.get_tensor_profile_shape",
        "IExecutionContext.execute_async_v3",
        "OnnxParser.parse_from_file",
        "Runtime.deserialize_cuda_engine",
        *ASKED_FOR,
    } <= set(used())


@pytest.mark.parametrize("version", bindings.VERSIONS)
def test_tensorrt_has_what_is_used(version: str, tmp_path: Path) -> None:
    if why := bindings.why_not(version):
        pytest.skip(why)
    found = bindings.ask(version, used(), tmp_path)
    assert [name for name, there in found.items() if not there and name not in ASKED_FOR] == []


def test_tensorrt_for_rtx_has_what_is_used() -> None:
    module = pytest.importorskip("tensorrt_rtx")
    for name in used():
        functools.reduce(getattr, name.split("."), module)


@pytest.mark.parametrize(("version", "numbered"), [("10.3.0", True), ("11.4.0.106", False)])
def test_where_versions_differ(version: str, numbered: bool, tmp_path: Path) -> None:
    """What the code asks for first is there in some and not in others: asking is not in vain."""
    if why := bindings.why_not(version):
        pytest.skip(why)
    names = ["LayerType.ATTENTION_OUTPUT", "BuilderFlag.FP16", "IAttentionOutputLayer"]
    found = bindings.ask(version, names, tmp_path)
    assert found["BuilderFlag.FP16"] is numbered
    assert found["LayerType.ATTENTION_OUTPUT"] is found["IAttentionOutputLayer"] is not numbered
