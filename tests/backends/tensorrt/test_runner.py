"""Real engines on a real GPU: what every runner does, where there is one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.parser
import pytest

from mmedge.backends.tensorrt.build import build_engine
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.engine_plan import Range
from mmedge.errors import BuildError, InputError, MissingDependencyError, MmedgeError
from mmedge.runtime.device.gpu import find_gpu
from mmedge.runtime.device.open_device import installed_library
from mmedge.runtime.runner import Runner, open_engine
from mmedge.runtime.tensorrt.library import LIBRARIES, TensorRT, find_library

if TYPE_CHECKING:
    from tests.backends import conformance
else:
    place = Path(__file__).parents[1] / "conformance.py"
    spec = importlib.util.spec_from_file_location("backend_conformance", place)
    conformance = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, conformance)
    spec.loader.exec_module(conformance)

SIZES = Range(1, 2, 8)


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> TensorRT:
    """Each that is installed."""
    try:
        return find_library(request.param, purpose="a test")
    except MissingDependencyError as error:
        pytest.skip(error.what)


@pytest.fixture(scope="module")
def gpu(library: TensorRT) -> str:
    """The compute capability of the GPU; without one, or a library for it, the test is skipped."""
    try:
        installed_library()
        return find_gpu().compute_capability
    except MissingDependencyError as error:
        pytest.skip(error.what)


def engine_of(library: TensorRT, text: str, directory: Path, capability: str) -> Path:
    """The engine of an ONNX text, its dynamic axes of 1 to 8."""
    model = onnx.parser.parse_model(text)
    graph, path = directory / "scale.onnx", directory / "scale.engine"
    onnx.save(model, graph)
    inputs = conformance.component_of(model).inputs
    ranges = {axis: SIZES for spec in inputs for axis in spec.dynamic_axes.values()}
    try:
        built = build_engine(
            library, graph, inputs, [ranges], settings=Settings(capability), label="scale"
        )
    except BuildError as error:
        pytest.skip(f"{library.name} builds nothing for {capability}: {error.what}")
    path.write_bytes(built.data)
    return path


class TestOnAGpu:
    """The same as `conformance.Conformance` says of a runner; engines keep no names of axes."""

    def open(self, library: TensorRT, text: str, directory: Path, gpu: str) -> Runner:
        path = engine_of(library, text, directory, gpu)
        return open_engine("tensorrt", path, options={"library": library.name})

    def test_a_dynamic_axis_takes_every_size(
        self, library: TensorRT, gpu: str, tmp_path: Path
    ) -> None:
        with self.open(library, conformance.SCALE, tmp_path, gpu) as runner:
            for batch in (1, 2, 7):
                x = np.arange(batch * 3, dtype="float32").reshape(batch, 3)
                np.testing.assert_array_equal(runner.infer({"x": x})["y"], x * [1, 2, 3])
            with pytest.raises(InputError, match="not built for inputs of these sizes"):
                runner.infer({"x": np.ones((9, 3), "float32")})

    def test_integers_and_truth_values_are_exact(
        self, library: TensorRT, gpu: str, tmp_path: Path
    ) -> None:
        scores = np.array([[3, -1, 2], [-4, 5, 6]], "float32")
        keep = np.array([[False, True, True], [True, True, False]])
        with self.open(library, conformance.MIXED, tmp_path, gpu) as runner:
            outputs = runner.infer({"scores": scores, "keep": keep})
        assert outputs["best"].tolist() == [2, 1]
        assert outputs["best"].dtype == np.int64
        np.testing.assert_array_equal(outputs["positive"], scores > 0)
        np.testing.assert_array_equal(outputs["masked"], np.where(keep, scores, 0))

    @pytest.mark.parametrize("kind", conformance.TYPES)
    def test_dtypes_are_kept(self, library: TensorRT, gpu: str, tmp_path: Path, kind: str) -> None:
        x = np.array([1, 2, 100], conformance.TYPES[kind])
        with self.open(library, conformance.TYPED.format(type=kind), tmp_path, gpu) as runner:
            y = runner.infer({"x": x})["y"]
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, x + x)

    def test_closing_releases_and_may_be_repeated(
        self, library: TensorRT, gpu: str, tmp_path: Path
    ) -> None:
        runner = self.open(library, conformance.SCALE, tmp_path, gpu)
        runner.close()
        runner.close()
        with pytest.raises(MmedgeError, match="closed"):
            runner.infer({"x": np.ones((1, 3), "float32")})

    def test_repeated_calls_as_graphs_are_the_same(
        self, library: TensorRT, gpu: str, tmp_path: Path
    ) -> None:
        path = engine_of(library, conformance.SCALE, tmp_path, gpu)
        with open_engine("tensorrt", path, options={"cuda_graph": "1"}) as runner:
            for number in range(5):
                x = np.full((2, 3), number, "float32")
                np.testing.assert_array_equal(runner.infer({"x": x})["y"], x * [1, 2, 3])


def test_options_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "scale.engine"
    path.write_bytes(b"vtrt")
    for options in ({"cuda_graphs": "1"}, {"cuda_graph": "yes"}, {"library": "onnxruntime"}):
        with pytest.raises(BuildError) as caught:
            open_engine("tensorrt", path, options=options)
        assert caught.value.details["where"] == "engine options of scale.engine"


def test_an_engine_of_the_other_library_is_refused(library: TensorRT, tmp_path: Path) -> None:
    if library.name != "tensorrt_rtx":
        pytest.skip("built on a GPU only")
    path = engine_of(library, conformance.SCALE, tmp_path, "8.6")
    with pytest.raises(MmedgeError, match="another library") as caught:
        open_engine("tensorrt", path, options={"library": "tensorrt"})
    assert caught.value.details["found"] == "tensorrt_rtx"


def test_an_engine_for_another_gpu_is_refused_before_it_is_read(
    library: TensorRT, gpu: str, tmp_path: Path
) -> None:
    other = "8.6" if gpu != "8.6" else "8.9"
    path = engine_of(library, conformance.SCALE, tmp_path, other)
    with pytest.raises(BuildError, match="not for this machine") as caught:
        open_engine("tensorrt", path)
    assert other in str(caught.value.details["found"])


def test_without_a_driver_opening_says_so(
    library: TensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = engine_of(library, conformance.SCALE, tmp_path, "8.6")
    monkeypatch.setattr(find_gpu, "__kwdefaults__", {"libraries": ("no-such-library.so",)})
    with pytest.raises(MissingDependencyError, match="no NVIDIA driver"):
        open_engine("tensorrt", path)
