"""Stage `quantize`: from a project to engines in integers, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
import torch

from mmedge.artifact import Artifact, Layer, Provenance
from mmedge.errors import BuildError, DataError, ProjectError
from mmedge.pipeline import compile_project
from mmedge.quantize.account import KEPT, Treated
from mmedge.search.component import Component
from mmedge.search.stages import Quantize, _with_treatments

EXAMPLE = Path(__file__).parents[2] / "examples" / "vqa"


@pytest.mark.slow
def test_the_example_in_integers_for_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    torch.set_num_threads(1)
    done = compile_project(
        EXAMPLE,
        output=tmp_path / "it.mmedge",
        target="rtx-3060-12g",
        cache=tmp_path / "cache",
        threads=1,
        precision="int8",
        max_drop=0.005,
        optimization_level=0,
    )
    found = done.report["quantization"]["components"]
    kept = "nothing to quantize: LSTM: the target keeps its kind in float"
    assert found["question_encoder"]["refused"] == kept
    for name in ("image_encoder", "fusion"):
        component = found[name]
        assert component["refused"] is None
        assert {t["treatment"] for t in component["treated"]} == {"static-int8"}
        assert component["bytes_after"] < 0.4 * component["bytes_before"]
        layers = {t["module"] for t in component["treated"]}
        (part,) = (c for c in done.report["components"] if c["name"] == name)
        treated = {row["module"] for row in part["layers"] if row["treatment"] == "quantized"}
        assert treated == layers
        native = done.manifest.engines[name][0]
        assert (native.kind, native.precision) == ("tensorrt", "int8")
    task = done.report["verification"]["task"]
    assert task["after"] >= task["before"] - 0.005
    graph = onnx.load(next((tmp_path / "it.mmedge").rglob("fusion.onnx")))
    assert "QuantizeLinear" in {node.op_type for node in graph.graph.node}


def test_samples_that_are_made_up_are_refused(
    write_project: Callable[..., Path], tmp_path: Path
) -> None:
    project = write_project(tmp_path / "plain")
    text = (project / "mmedge.toml").read_text()
    (project / "mmedge.toml").write_text(text.split("[data]")[0])
    with pytest.raises(DataError, match="real samples") as caught:
        _compiled(project, tmp_path, precision="int8")
    assert "--sample" in str(caught.value)
    assert not (tmp_path / "it.mmedge").exists()


def test_a_target_without_integers_is_refused_before_any_work(
    write_project: Callable[..., Path], tmp_path: Path
) -> None:
    target = tmp_path / "old.toml"
    target.write_text(
        'name = "old"\ntitle = "Old"\nbackend = "onnxruntime"\nopset = 20\nprecisions = ["fp32"]\n'
    )
    with pytest.raises(ProjectError, match="cannot compute in int8"):
        _compiled(write_project(tmp_path / "p"), tmp_path, precision="int8", target=str(target))


def _compiled(project: Path, folder: Path, **settings: Any) -> Any:
    output = folder / "it.mmedge"
    return compile_project(project, output=output, cache=folder / "cache", threads=1, **settings)


def test_a_request_that_changed_nothing_is_an_error() -> None:
    nothing = {"a": {"refused": "not measurably faster: 1.04"}, "b": {"refused": "moved too far"}}
    artifact = Artifact(Provenance("m", "", "", {}, "cpu", {}))
    stage = Quantize()
    with pytest.raises(BuildError, match="nothing in this model") as caught:
        stage.ensures(artifact.with_record("quantize", {"asked": True, "components": nothing}))
    assert "a: not measurably faster" in str(caught.value)
    some = {**nothing, "c": {"refused": None}}
    stage.ensures(artifact.with_record("quantize", {"asked": True, "components": some}))
    stage.ensures(artifact.with_record("quantize", {"asked": False, "components": {}}))


def test_layers_say_what_became_of_their_operators() -> None:
    def layer(module: str) -> Layer:
        return Layer(module, "Linear", {"Gemm": 1}, 10, "kept", "no compression was asked for")

    treated = [
        Treated("n1", "a", "Gemm", "static-int8", "int8 weights"),
        Treated("n2", "b", "Gemm", KEPT, "its weights are computed"),
    ]
    found = _with_treatments(
        (layer("a"), layer("b"), layer("c")), Component(Path("g.onnx"), treated)
    )
    assert [(x.treatment, x.why) for x in found] == [
        ("quantized", "int8 weights"),
        ("kept", "its weights are computed"),
        ("kept", "none of its operators is quantized"),
    ]
    assert msgspec.to_builtins(found)
