from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.backends.tensorrt.build import build_engine
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.errors import BundleError
from mmedge.runtime.tensorrt.header import HEADER_BYTES, MAGIC, read_header
from mmedge.runtime.tensorrt.library import TensorRT, find_library
from mmedge.tensors import TensorSpec

SCALE = """
<ir_version: 10, opset_import: ["" : 20]>
scale (float[2, 3] x) => (float[2, 3] y)
<float[3] w = {1, 2, 3}> { y = Mul (x, w) }
"""


@pytest.fixture(scope="module")
def library() -> TensorRT:
    pytest.importorskip("tensorrt_rtx")
    return find_library("tensorrt_rtx", purpose="a test")


def engine(library: TensorRT, directory: Path, compute_capability: str | None) -> Path:
    graph = directory / "scale.onnx"
    onnx.save(onnx.parser.parse_model(SCALE), graph)
    inputs = [TensorSpec("x", "float32", (2, 3))]
    built = build_engine(
        library, graph, inputs, [], settings=Settings(compute_capability), label="scale"
    )
    path = directory / "scale.engine"
    path.write_bytes(built.data)
    return path


@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"])
def test_the_header_tells_the_version_and_the_gpu(
    library: TensorRT, tmp_path: Path, capability: str
) -> None:
    path = engine(library, tmp_path, capability)
    header = read_header(path)
    assert header.library == library.name
    assert header.version == library.version
    assert header.compute_capabilities == (capability,)
    assert header.size_bytes == path.stat().st_size
    assert header.weights_bytes == 12


def test_the_library_s_own_header_is_as_long(library: TensorRT) -> None:
    assert library.module.Runtime(library.logger).engine_header_size == HEADER_BYTES


def test_an_engine_for_no_gpu_in_particular_names_several(
    library: TensorRT, tmp_path: Path
) -> None:
    found = read_header(engine(library, tmp_path, None)).compute_capabilities
    assert found is not None
    assert len(found) > 1


@pytest.mark.parametrize("keep", [4, 63, 64, 1000])
def test_a_part_of_an_engine_is_refused(library: TensorRT, tmp_path: Path, keep: int) -> None:
    path = engine(library, tmp_path, "8.6")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BundleError, match="is only a part of an engine") as caught:
        read_header(path)
    assert caught.value.details["found"] == f"{keep} bytes"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(100), "zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x80\x02}q\x00", "pickle"),
        (b"hello", "b'hell'"),
    ],
)
def test_other_files_are_told_for_what_they_are(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"model\.engine") as caught:
        read_header(path)
    assert what in str(caught.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        read_header(tmp_path / "none.engine")


def test_of_tensorrt_only_the_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"ftrt" + bytes(20) + bytes((10, 3, 0, 30)) + bytes(100))
    header = read_header(path)
    assert (header.library, header.version) == ("tensorrt", "10.3.0.30")
    assert header.compute_capabilities is None
    path.write_bytes(b"ptrt" + bytes(100))
    assert read_header(path).version is None


@pytest.mark.parametrize("magic", [b"ftrt", b"vtrt"])
def test_no_library_is_of_version_0(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(magic + bytes(1000))
    with pytest.raises(BundleError, match="its header says what cannot be") as caught:
        read_header(path)
    assert caught.value.details["found"] == "version 0.0.0.0"


def test_an_engine_has_no_more_weights_than_bytes(library: TensorRT, tmp_path: Path) -> None:
    path = engine(library, tmp_path, "8.6")
    data = bytearray(path.read_bytes())
    data[60] ^= 0x0F  # of the size of the weights
    path.write_bytes(data)
    with pytest.raises(BundleError, match="its header says what cannot be") as caught:
        read_header(path)
    assert caught.value.details["expected"] == f"no more than the file has: {len(data)}"


@given(st.sampled_from(sorted(MAGIC)), st.binary(max_size=200))
def test_whatever_follows_there_is_a_header_or_one_error(magic: bytes, rest: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "any.engine"
        path.write_bytes(magic + rest)
        try:
            assert read_header(path).library == MAGIC[magic]
        except BundleError as error:
            assert "any.engine" in error.what  # noqa: PT017
