from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from host_device import GPU

from mmedge.runtime.device.gpu import find_gpu
from mmedge.runtime.runner import refusal
from mmedge.runtime.tensorrt.library import find_library
from mmedge.runtime.tensorrt.stamps import Here, mismatch, same_version, stamps

PATH = Path("never-opened.engine")
ORIN = replace(GPU, name="Orin", compute_capability="8.7", sm_count=8, cuda="12.6")
HERE = Here({"tensorrt": "10.3.0"}, ORIN, l4t="36.4.3", plugins={"attention": "ab" * 32})
BUILT = {
    "tensorrt": "10.3.0.30",
    "compute_capability": "8.7",
    "sm_count": "8",
    "cuda": "12.6",
    "l4t": "36.4.3",
    "plugin:attention": "ab" * 32,
}


def test_the_machine_it_was_built_on_takes_it() -> None:
    assert mismatch(BUILT, HERE) is None


@pytest.mark.parametrize(
    ("stamp", "value", "why"),
    [
        ("tensorrt", "10.3.1", "built with tensorrt 10.3.1, and 10.3.0 is installed"),
        ("tensorrt", "10.13.0", "built with tensorrt 10.13.0, and 10.3.0 is installed"),
        ("tensorrt_rtx", "1.7.1.116", "not installed is installed"),
        ("compute_capability", "8.6", "compute capability 8.6, and Orin has 8.7"),
        ("sm_count", "16", "with 16 multiprocessors, and Orin has 8"),
        ("cuda", "13.0", "a driver for CUDA 13.0, and this one supports 12.6"),
        ("l4t", "36.3.0", "L4T 36.3.0, and this is 36.4.3"),
        ("plugin:attention", "cd" * 32, "plugin attention cdcdcdcdcdcd: abababababab"),
        ("plugin:other", "cd" * 32, "plugin other cdcdcdcdcdcd: not here"),
        ("phase_of_moon", "full", "does not know"),
    ],
)
def test_every_other_stamp_is_a_reason(stamp: str, value: str, why: str) -> None:
    found = mismatch({**BUILT, stamp: value}, HERE)
    assert found is not None
    assert why in found


def test_a_newer_driver_and_one_of_several_gpus_are_no_reason() -> None:
    assert mismatch({**BUILT, "cuda": "11.8"}, HERE) is None
    assert mismatch({**BUILT, "compute_capability": "8.6,8.7"}, HERE) is None


def test_versions_are_equal_as_far_as_both_tell() -> None:
    assert same_version("10.3.0.30", "10.3.0")
    assert not same_version("1.7.1.116", "1.7.1.115")
    assert not same_version("1.7.1.116", "1.7.2")
    assert not same_version("10", "10.3.0.30")  # tells too little


def test_a_library_that_is_not_installed_is_the_first_reason() -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("tensorrt is installed here")
    found = refusal("tensorrt", PATH, built_with={"tensorrt": "10.3.0"})
    assert found is not None
    assert found.why == "tensorrt is not installed"
    assert found.hint == "pip install 'mmedge[tensorrt]'"


def test_without_a_driver_no_engine_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setattr(find_gpu, "__kwdefaults__", {"libraries": ("no-such-library.so",)})
    version = find_library("tensorrt_rtx", purpose="a test").version
    built_with = {"tensorrt_rtx": version, "compute_capability": "8.6"}
    found = refusal("tensorrt", PATH, built_with=built_with)
    assert found is not None
    assert found.why == "this machine has no NVIDIA driver (no no-such-library.so)"


def test_an_engine_without_a_library_s_stamp_is_refused() -> None:
    found = refusal("tensorrt", PATH, built_with={})
    assert found is not None
    assert "does not say" in found.why


def test_rtx_stamps_are_the_library_and_the_gpu_it_is_for() -> None:
    pytest.importorskip("tensorrt_rtx")
    library = find_library("tensorrt_rtx", purpose="a test")
    found = stamps(library, "8.9")
    assert found == {"tensorrt_rtx": library.version, "compute_capability": "8.9"}
    assert len(library.version.split(".")) == 4
    assert library.stamps("8.9") == found
