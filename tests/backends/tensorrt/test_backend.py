"""Engines by plan: of real graphs, with TensorRT for RTX, on a machine without a GPU."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tiny_vlm import save_graph

from mmedge.artifact import Artifact
from mmedge.backends.base import native_backend
from mmedge.backends.tensorrt.backend import TensorRTBackend, _check_gpu
from mmedge.backends.tensorrt.timing_cache import keep_timings, timing_file, use_timings
from mmedge.engine_plan import BuildOptions, EnginePlan, Range
from mmedge.errors import BuildError
from mmedge.runtime.tensorrt.library import TensorRT, find_library
from mmedge.targets import load_target
from mmedge.tensors import TensorSpec
from mmedge.wiring import ComponentSpec

rtx = pytest.importorskip("tensorrt_rtx")
BACKEND = TensorRTBackend()
ADD = "add (float[batch, 4] x) => (float[batch, 4] y) { y = Add(x, x) }"
SPEC = ComponentSpec(
    "add",
    "tensor",
    (TensorSpec("x", "float32", ("batch", 4)),),
    (TensorSpec("y", "float32", ("batch", 4)),),
    {"x": "x"},
)
PLAN = EnginePlan("tensorrt", "tensorrt_rtx", "fp32", ({"batch": Range(1, 2, 8)},), "8.6")


def build(graph: Path, directory: Path, plan: EnginePlan = PLAN, progress=lambda line: None):
    return BACKEND.build(SPEC, graph, plan=plan, directory=directory, progress=progress)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return save_graph(tmp_path / "add.onnx", ADD)


@pytest.mark.parametrize("gpu", ["7.5", "8.0", "8.6", "8.9", "12.0"])
def test_an_engine_for_a_gpu_that_is_not_here(graph: Path, tmp_path: Path, gpu: str) -> None:
    plan = msgspec.structs.replace(PLAN, compute_capability=gpu)
    built = build(graph, tmp_path, plan)
    assert Path(built.path).stat().st_size == built.size_bytes > 0
    assert built.built_with == {"tensorrt_rtx": rtx.__version__, "compute_capability": gpu}
    assert built.memory["activations_bytes"] >= 0


def test_progress_ends_at_the_end(graph: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    build(graph, tmp_path, progress=lines.append)
    assert lines[-1] == "add: 100%"


def test_a_workspace_that_is_too_small_is_to_be_larger(tmp_path: Path) -> None:
    text = "gram (float[512, 4096] x) => (float[512, 512] y) "
    graph = save_graph(
        tmp_path / "gram.onnx", text + "{ t = Transpose <perm = [1, 0]> (x) y = MatMul (x, t) }"
    )
    spec = ComponentSpec("gram", "tensor", (TensorSpec("x", "float32", (512, 4096)),), (), {})
    plan = msgspec.structs.replace(PLAN, profiles=({},), workspace_bytes=1000)
    with pytest.raises(BuildError, match="could not build 'gram'") as caught:
        BACKEND.build(spec, graph, plan=plan, directory=tmp_path, progress=lambda _line: None)
    assert caught.value.details["try"] == "a larger --workspace than 1 kB, or none"


@pytest.mark.parametrize("gpu", ["8.7", "9.0", "11.0", "3.14"])
def test_a_gpu_that_it_does_not_build_for(graph: Path, tmp_path: Path, gpu: str) -> None:
    with pytest.raises(BuildError, match=f"compute capability {gpu}") as caught:
        build(graph, tmp_path, msgspec.structs.replace(PLAN, compute_capability=gpu))
    assert "8.6" in str(caught.value)
    assert not list(tmp_path.glob("*.engine"))


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    broken = tmp_path / "add.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(BuildError, match="does not take the graph of 'add'"):
        build(broken, tmp_path)
    assert not list(tmp_path.glob("*.engine"))


def test_an_interrupt_ends_the_build(graph: Path, tmp_path: Path) -> None:
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(graph, tmp_path, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["add.onnx"]


def test_options_are_in_the_plan(built: Artifact) -> None:
    target, wiring = load_target("rtx-4060"), built.wired
    backend = native_backend(target)
    assert backend is not None
    options = BuildOptions({"batch": "1:2:4"}, True, 1, 10**8)
    precisions = {component.name: "fp32" for component in wiring.components}
    for plan in backend.plans(wiring, precisions, target=target, options=options).values():
        assert plan.profiles[0]["batch"] == Range(1, 2, 4)
        assert (plan.precision, plan.compute_capability) == ("tf32", "8.9")
        assert (plan.optimization_level, plan.workspace_bytes) == (1, 10**8)


def test_targets_that_run_graphs_have_no_backend_of_their_own() -> None:
    assert native_backend(load_target("cpu")) is None


def test_the_gpu_that_it_builds_for_must_be_the_plans() -> None:
    plan = msgspec.structs.replace(PLAN, library="tensorrt", compute_capability="8.7")
    _check_gpu(plan, {"tensorrt": "10.3.0", "compute_capability": "8.7"})
    _check_gpu(plan, {"tensorrt": "10.3.0"})
    with pytest.raises(BuildError, match="GPU is not the target's") as caught:
        _check_gpu(plan, {"tensorrt": "10.3.0", "compute_capability": "8.6"})
    assert "8.6" in str(caught.value)


def test_timings_are_kept_of_what_times(tmp_path: Path) -> None:
    library = find_library("tensorrt_rtx", purpose="testing")
    assert timing_file(library, tmp_path, "8.6") is None
    timing = TensorRT("tensorrt", library.module, library.logger)
    file = timing_file(timing, tmp_path, "8.7")
    assert file == tmp_path / "timings" / f"tensorrt-{library.version}-sm87.cache"
    assert timing_file(timing, tmp_path, None) != file


def test_timings_go_to_disk_and_back(tmp_path: Path) -> None:
    """TensorRT for RTX has the functions, and times nothing."""
    library = find_library("tensorrt_rtx", purpose="testing")
    file = tmp_path / "timings" / "a.cache"
    config = library.builder().create_builder_config()
    use_timings(config, file)
    keep_timings(config, file)
    assert file.stat().st_size > 0
    use_timings(library.builder().create_builder_config(), file)


def test_timings_that_cannot_be_written_cost_nothing(tmp_path: Path) -> None:
    library = find_library("tensorrt_rtx", purpose="testing")
    (tmp_path / "timings").write_text("a file where the directory would be")
    config = library.builder().create_builder_config()
    use_timings(config, tmp_path / "timings" / "a.cache")
    keep_timings(config, tmp_path / "timings" / "a.cache")
    assert (tmp_path / "timings").is_file()
