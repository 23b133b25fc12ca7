"""TensorRT's plugin compiled against the headers that are here; skipped where there are none."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from mmedge.errors import BuildError, MissingDependencyError
from mmedge.kernels.build import BuiltKernels, build_kernels
from mmedge.kernels.kernel_table import Instance, kernels_directory
from mmedge.kernels.plugin import build_plugin, find_headers
from mmedge.kernels.toolchain import find_toolchain

# What IPluginRegistry::loadLibrary looks for, and the kernels' own interface.
EXPORTED = ("getCreators", "setLoggerFinder", "mmedge_attention", "mmedge_attention_workspace")


@pytest.fixture(scope="module")
def headers() -> Path:
    try:
        find_toolchain()
        return find_headers()
    except MissingDependencyError as error:
        pytest.skip(error.what)


@pytest.fixture(scope="module")
def built(headers: Path, tmp_path_factory: pytest.TempPathFactory) -> BuiltKernels:
    few = Instance("Fp16", 32, forward=((32, 32),), decode=((16, 32),))
    cache = tmp_path_factory.mktemp("kernels")
    return build_kernels("attention", "8.6", wanted=[few], cache=cache)


def check(library: Path) -> None:
    """It loads on its own: TensorRT's functions reach it through virtual tables alone."""
    loaded = ctypes.CDLL(str(library))
    assert all(hasattr(loaded, name) for name in EXPORTED)
    count = ctypes.c_int32(-1)
    loaded.getCreators.restype = ctypes.c_void_p
    assert loaded.getCreators(ctypes.byref(count)) is not None
    assert count.value == 1


def test_it_is_one_library_that_needs_no_other(
    built: BuiltKernels, headers: Path, tmp_path: Path
) -> None:
    library = build_plugin(built, tmp_path, headers=headers)
    assert library == tmp_path / built.place / "libmmedge_attention.so"
    assert [path.name for path in library.parent.iterdir()] == [library.name]
    check(library)


def test_cmake_builds_it_too(built: BuiltKernels, headers: Path, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    source = kernels_directory() / "attention" / "plugin"
    given = (f"-DMMEDGE_KERNELS={built.archive.parent}", f"-DTENSORRT_INCLUDE={headers}")
    for command in (
        ["cmake", "-S", str(source), "-B", str(tmp_path), *given],
        ["cmake", "--build", str(tmp_path)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    check(tmp_path / "libmmedge_attention.so")


def test_headers_that_are_none(built: BuiltKernels, tmp_path: Path) -> None:
    (tmp_path / "NvInferRuntime.h").write_text("this is no C++;\n")
    with pytest.raises(BuildError, match="failed on the plugin of attention") as caught:
        build_plugin(built, tmp_path / "out", headers=tmp_path)
    assert "NvInferRuntime.h" in str(caught.value)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
