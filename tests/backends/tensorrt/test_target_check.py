"""What a target's TensorRT cannot do is refused by its file alone, before there is a graph."""

from __future__ import annotations

import msgspec
import pytest

from mmedge.backends.tensorrt.backend import TensorRTBackend
from mmedge.capabilities import read_table
from mmedge.errors import ProjectError
from mmedge.runtime.tensorrt.library import find_library
from mmedge.targets import Target, list_targets, load_target

CHECK = TensorRTBackend().check_target


def changed(name: str, **settings: str) -> Target:
    target = load_target(name)
    assert target.tensorrt is not None
    return msgspec.structs.replace(
        target, tensorrt=msgspec.structs.replace(target.tensorrt, **settings)
    )


@pytest.mark.parametrize("capability", ["8.7", "7.0", "9.0"])
def test_a_gpu_that_the_library_does_not_build_for(capability: str) -> None:
    with pytest.raises(ProjectError, match=f"for compute capability {capability}") as caught:
        CHECK(changed("rtx-3060-12g", compute_capability=capability))
    assert "7.5, 8.0, 8.6" in str(caught.value.details["expected"])
    assert 'library = "tensorrt"' in str(caught.value.details["try"])


def test_a_board_builds_for_its_own_gpu() -> None:
    CHECK(load_target("jetson-orin-nano-8"), opset=18)


def test_an_opset_that_is_not_parsed() -> None:
    with pytest.raises(ProjectError, match="does not parse opset 23") as caught:
        CHECK(load_target("jetson-orin-nano-8"), opset=23)
    assert caught.value.details["try"] == "--opset 20"
    assert caught.value.details["expected"] == "18 to 20"
    own = msgspec.structs.replace(load_target("jetson-orin-nano-8"), opset=23)
    with pytest.raises(ProjectError, match="does not parse") as caught:
        CHECK(own, opset=23)
    assert caught.value.details["try"] == "opset = 20 in the target's file"


def test_a_target_with_a_newer_library_than_is_installed() -> None:
    pytest.importorskip("tensorrt_rtx")
    installed = find_library("tensorrt_rtx", purpose="a test").version
    with pytest.raises(ProjectError, match=r"newer tensorrt_rtx than is installed") as caught:
        CHECK(changed("rtx-3060-12g", version="9.9"))
    assert installed in str(caught.value.details["found"])
    assert "mmedge[rtx]" in str(caught.value.details["try"])
    CHECK(changed("rtx-3060-12g", version=installed))


@pytest.mark.parametrize("target", [t for t in list_targets() if t.tensorrt], ids=lambda t: t.name)
def test_the_targets_that_ship_can_be_built_for(target: Target) -> None:
    assert target.tensorrt is not None
    pytest.importorskip("tensorrt_rtx")
    CHECK(target, opset=target.opset)


def test_the_gpus_of_the_table_are_those_of_the_library() -> None:
    module = pytest.importorskip("tensorrt_rtx")
    named = [kind for kind in module.ComputeCapability.__members__ if kind.startswith("SM")]
    (row,) = read_table("tensorrt_rtx").gpus
    assert [f"SM{name.replace('.', '')}" for name in row.names] == named
