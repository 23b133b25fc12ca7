from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from mmedge.errors import BuildError, BundleError, InputError, MmedgeError
from mmedge.runtime.onnxruntime_runner import OnnxRuntimeRunner
from mmedge.runtime.onnxruntime_session import check_kept
from mmedge.runtime.runner import ENGINES, Binding, open_engine
from mmedge.tensors import TensorSpec

LINEAR = """
<ir_version: 8, opset_import: ["" : 17]>
linear (float[batch, 3] x, int64[1] shift) => (float[batch, 2] y, int64[1] shifted)
<float[3, 2] weight = {1, 2, 3, 4, 5, 6}, int64[1] one = {1}>
{
    y = MatMul(x, weight)
    shifted = Add(shift, one)
}
"""
FEEDS = {"x": np.ones((4, 3), np.float32), "shift": np.array([41])}
NAMES = {
    "float32": "float", "float64": "double", "float16": "float16", "int8": "int8",
    "int32": "int32", "int64": "int64", "uint8": "uint8", "bool": "bool",
}  # fmt: skip


def save(path: Path, text: str, **options: object) -> Path:
    onnx.save(parser.parse_model(text), path, **options)
    return path


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    return save(tmp_path / "text_encoder.onnx", LINEAR)


def test_infers_by_name(linear: Path) -> None:
    with OnnxRuntimeRunner(linear, threads=1) as runner:
        outputs = runner.infer(FEEDS)
    np.testing.assert_array_equal(outputs["y"], np.tile(np.float32([9, 12]), (4, 1)))
    np.testing.assert_array_equal(outputs["shifted"], [42])


def test_specs_are_those_of_the_graph(linear: Path) -> None:
    with OnnxRuntimeRunner(linear, threads=1) as runner:
        assert runner.input_specs == (
            TensorSpec("x", "float32", ("batch", 3)),
            TensorSpec("shift", "int64", (1,)),
        )
        assert [spec.name for spec in runner.output_specs] == ["y", "shifted"]


@pytest.mark.parametrize("dtype", NAMES)
def test_dtypes_round_trip(tmp_path: Path, dtype: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
        g ({NAMES[dtype]}[n] x) => ({NAMES[dtype]}[n] y) {{ y = Identity(x) }}"""
    value = np.array([0, 1, 1]).astype(dtype)
    with open_engine("onnxruntime", save(tmp_path / "g.onnx", text), threads=1) as runner:
        assert runner.input_specs[0].dtype == dtype
        output = runner.infer({"x": value})["y"]
    assert output.dtype == value.dtype
    np.testing.assert_array_equal(output, value)


def test_unnamed_axes_are_distinct(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[?, ?] x) => (float[?, ?] y) { y = Identity(x) }"""
    with OnnxRuntimeRunner(save(tmp_path / "g.onnx", text), threads=1) as runner:
        assert runner.input_specs[0].shape == ("x.0", "x.1")
        assert runner.infer({"x": np.zeros((2, 5), np.float32)})["y"].shape == (2, 5)


def test_reads_external_data_beside_the_model(tmp_path: Path) -> None:
    weight = np.arange(3000, dtype=np.float32).reshape(3, 1000)
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[batch, 3] x) => (float[batch, 1000] y) { y = MatMul(x, weight) }"""
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    path = tmp_path / "g.onnx"
    onnx.save(model, path, save_as_external_data=True, location="g.data", size_threshold=0)
    x = np.ones((1, 3), np.float32)
    with OnnxRuntimeRunner(path, threads=1) as runner:
        np.testing.assert_allclose(runner.infer({"x": x})["y"], x @ weight)
    (tmp_path / "g.data").unlink()
    with pytest.raises(BuildError, match=r"cannot open g\.onnx"):
        OnnxRuntimeRunner(path)


def test_a_provider_that_is_not_there_is_an_error(linear: Path) -> None:
    with pytest.raises(BuildError, match="CUDAExecutionProvider") as caught:
        OnnxRuntimeRunner(linear, providers=("CUDAExecutionProvider", "CPUExecutionProvider"))
    assert "CPUExecutionProvider" in caught.value.details["found"]
    assert "onnxruntime-gpu" in caught.value.details["try"]


def test_a_misspelt_provider_gets_the_nearest(linear: Path) -> None:
    with pytest.raises(BuildError, match="CPUExecutionProvider"):
        OnnxRuntimeRunner(linear, providers=("CpuExecutionProvider",))


def test_a_provider_dropped_by_the_session_is_an_error() -> None:
    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    check_kept([cuda, cpu], [cuda], Path("g.onnx"))
    with pytest.raises(BuildError, match="the session runs on: CPUExecutionProvider"):
        check_kept([cpu], [cuda, cpu], Path("g.onnx"))


@pytest.mark.parametrize("content", [b"", b"not a model", LINEAR.encode()])
def test_a_corrupt_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "decoder.onnx").write_bytes(content)
    with pytest.raises(BuildError, match=r"decoder\.onnx"):
        OnnxRuntimeRunner(tmp_path / "decoder.onnx")


def test_a_truncated_file_is_refused(linear: Path) -> None:
    linear.write_bytes(linear.read_bytes()[:-20])
    with pytest.raises(BuildError, match=r"text_encoder\.onnx"):
        OnnxRuntimeRunner(linear)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"decoder\.onnx"):
        OnnxRuntimeRunner(tmp_path / "decoder.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "other inputs"),
        ({"z": np.zeros(1)}, "other inputs"),
        ({"x": np.ones((4, 3))}, "wrong dtype"),
        ({"x": np.ones((4, 3), ">f4")}, "wrong dtype"),
        ({"x": np.ones((4, 2), np.float32)}, "wrong shape"),
        ({"x": np.ones(3, np.float32)}, "number of dimensions"),
        ({"x": [[1.0, 1.0, 1.0]]}, "not a numpy array"),
    ],
)
def test_unfit_feeds_are_refused(linear: Path, change: dict, message: str) -> None:
    feeds = {key: value for key, value in {**FEEDS, **change}.items() if value is not None}
    with (
        OnnxRuntimeRunner(linear, threads=1) as runner,
        pytest.raises(InputError, match=message) as caught,
    ):
        runner.infer(feeds)
    assert "text_encoder" in str(caught.value)


def test_views_of_any_layout_are_accepted(linear: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4).T
    with OnnxRuntimeRunner(linear, threads=1) as runner:
        output = runner.infer({"x": x, "shift": FEEDS["shift"]})["y"]
    np.testing.assert_allclose(output, x @ np.float32([[1, 2], [3, 4], [5, 6]]))


def test_an_id_outside_of_a_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    embed (int64[n] ids) => (float[n, 2] y) <float[3, 2] table = {1, 2, 3, 4, 5, 6}>
    { y = Gather(table, ids) }
    """
    with OnnxRuntimeRunner(save(tmp_path / "embed.onnx", text), threads=1) as runner:
        with pytest.raises(InputError, match="number that none of its tables has") as caught:
            runner.infer({"ids": np.array([1, 5000])})
        assert (caught.value.details["found"], caught.value.details["expected"]) == (
            "5000",
            "0 to 2",
        )
        assert "ids: int64[2]" in str(caught.value)
    assert capfd.readouterr() == ("", "")  # ONNX Runtime's own log has nothing to add


def test_a_failure_while_running_names_the_component(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[n] x, int64[1] shape) => (float[m] y) { y = Reshape(x, shape) }"""
    with (
        OnnxRuntimeRunner(save(tmp_path / "fusion.onnx", text), threads=1) as runner,
        pytest.raises(MmedgeError, match="'fusion' failed"),
    ):
        runner.infer({"x": np.ones(3, np.float32), "shape": np.array([2])})


SCATTER = """<ir_version: 8, opset_import: ["" : 17]>
decoder (float[batch, 4] past, float[batch, new] x, int64[new] places)
    => (float[batch, 4] present, float[batch, new] doubled)
{
    extent = Shape(x)
    index = Expand(places, extent)
    present = ScatterElements<axis = 1>(past, index, x)
    doubled = Add(x, x)
}
"""


def test_buffers_stay_where_they_are(tmp_path: Path) -> None:
    past = np.zeros((2, 4), np.float32)
    with OnnxRuntimeRunner(save(tmp_path / "decoder.onnx", SCATTER), threads=1) as runner:
        assert isinstance(runner, Binding)
        run = runner.bound({"past": "present"}, {"past": past})
        x = np.float32([[1, 2], [3, 4]])
        outputs = run({"x": x, "places": np.array([0, 1])})
        assert list(outputs) == ["doubled"]
        np.testing.assert_array_equal(outputs["doubled"], x * 2)
        # Another length, and a view that is not contiguous.
        later = run({"x": x.T[:1].T, "places": np.array([3])})
        np.testing.assert_array_equal(past, [[1, 2, 0, 1], [3, 4, 0, 3]])
        np.testing.assert_array_equal(later["doubled"], [[2], [6]])
        np.testing.assert_array_equal(outputs["doubled"], x * 2)  # not overwritten


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"x": np.ones((2, 1), np.float32)}, "other inputs"),
        ({"x": np.ones((3, 1), np.float32), "places": np.array([0])}, "'batch'"),
        ({"x": np.ones((2, 1)), "places": np.array([0])}, "wrong dtype"),
        ({"x": np.ones((2, 1), np.float32), "places": np.array([9])}, "none of its tables"),
    ],
)
def test_unfit_feeds_of_a_bound_run(tmp_path: Path, feeds: dict, message: str) -> None:
    with OnnxRuntimeRunner(save(tmp_path / "decoder.onnx", SCATTER), threads=1) as runner:
        run = runner.bound({"past": "present"}, {"past": np.zeros((2, 4), np.float32)})
        with pytest.raises(MmedgeError, match=message):
            run(feeds)
        run({"x": np.ones((2, 1), np.float32), "places": np.array([0])})
    with pytest.raises(MmedgeError, match="closed"):
        run({"x": np.ones((2, 1), np.float32), "places": np.array([0])})
    with pytest.raises(MmedgeError, match="closed"):
        runner.bound({}, {})


def test_a_closed_runner_raises(linear: Path) -> None:
    runner = OnnxRuntimeRunner(linear, threads=1)
    runner.close()
    runner.close()
    with pytest.raises(MmedgeError, match="closed"):
        runner.infer(FEEDS)


def test_a_type_numpy_lacks_is_refused(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[n] x) => (bfloat16[n] y) { y = Cast<to = 16>(x) }"""
    with pytest.raises(BuildError, match="numpy does not have"):
        OnnxRuntimeRunner(save(tmp_path / "g.onnx", text))


@pytest.mark.parametrize("optimization", ["all", "basic", "disable"])
def test_options_come_as_strings(linear: Path, optimization: str) -> None:
    options = {
        "providers": "CPUExecutionProvider",
        "optimization": optimization,
        "intra_op.allow_spinning": "0",
    }
    with open_engine("onnxruntime", linear, threads=2, options=options) as runner:
        np.testing.assert_array_equal(runner.infer(FEEDS)["shifted"], [42])


def test_settings_reach_the_session(linear: Path) -> None:
    with OnnxRuntimeRunner(linear, threads=3, allow_spinning=False) as runner:
        settings = runner._session.get_session_options()
        assert settings.intra_op_num_threads == 3
        assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert settings.enable_cpu_mem_arena
        assert settings.enable_mem_pattern


def test_without_a_memory_arena_the_values_are_the_same(linear: Path) -> None:
    options = {"memory_arena": "0"}
    with OnnxRuntimeRunner.open(linear, threads=1, options=options) as runner:
        settings = runner._session.get_session_options()
        assert not settings.enable_cpu_mem_arena
        assert not settings.enable_mem_pattern
        np.testing.assert_array_equal(runner.infer(FEEDS)["shifted"], [42])


@pytest.mark.parametrize(
    "options", [{"optimisation": "all"}, {"optimization": "most"}, {"providers": ""}]
)
def test_unknown_options_are_refused(linear: Path, options: dict[str, str]) -> None:
    with pytest.raises(BuildError):
        open_engine("onnxruntime", linear, options=options)


@pytest.mark.parametrize("settings", [{"threads": 0}, {"optimization": "most"}])
def test_impossible_settings_are_refused(linear: Path, settings: dict) -> None:
    with pytest.raises(BuildError):
        OnnxRuntimeRunner(linear, **settings)


def test_an_unknown_engine_kind_gets_the_nearest(linear: Path) -> None:
    with pytest.raises(BundleError, match="did you mean 'onnxruntime'"):
        open_engine("onnx_runtime", linear)


def test_every_engine_kind_can_be_imported() -> None:
    for reference in ENGINES.values():
        module, _, name = reference.partition(":")
        assert callable(getattr(importlib.import_module(module), name).open)
