"""The stage `precision` within a compile: what it converts, records, refuses, and leaves alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from mmedge import load
from mmedge.artifact import Artifact, replace
from mmedge.cache import StageCache
from mmedge.errors import GraphError
from mmedge.graph.passes.convert_precision import convert
from mmedge.graph.precision.formats import FORMATS
from mmedge.graph.precision_stage import Precision, _check_provable
from mmedge.pipeline import compile_project, live_model
from mmedge.stage import Workspace

# Runs here, and is said to have float16.
TARGET = """
name = "small"
title = "A small machine"
backend = "onnxruntime"
providers = ["CPUExecutionProvider"]
opset = 23
precisions = ["fp32", "fp16"]
"""


@pytest.fixture
def rewritten(tiny_system: Any) -> Artifact:
    """The tiny artifact before the stage."""
    store = StageCache(tiny_system.cache)
    key = next(entry.key for entry in store.entries() if entry.stage == "rewrite")
    artifact = store.load(key)
    assert artifact is not None
    return artifact


def workspace_of(system: Any, precision: str) -> Workspace:
    workspace = live_model(system.bundle, system.project, 1, lambda line: None)
    config = msgspec.structs.replace(workspace.config, precision=precision)
    return dataclasses.replace(workspace, config=config)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_without_a_narrow_format_nothing_is_done(
    rewritten: Artifact, tiny_system: Any, tmp_path: Path, precision: str
) -> None:
    done = Precision().run(rewritten, workspace_of(tiny_system, precision), tmp_path)
    Precision().ensures(done)
    assert done.graphs == rewritten.graphs
    assert done.precision_of("image_encoder") == "fp32"
    assert not list(tmp_path.iterdir())


def test_every_component_converts_and_accounts_for_its_nodes(
    rewritten: Artifact, tiny_system: Any, tmp_path: Path
) -> None:
    done = Precision().run(rewritten, workspace_of(tiny_system, "fp16"), tmp_path)
    Precision().ensures(done)
    record = done.records["precision"]["components"]
    assert set(done.precisions.values()) == {"fp16"}
    assert record.keys() == done.graphs.keys()
    for name, path in done.graphs.items():
        graph = onnx.load(path).graph
        weights = sum(np.prod(w.dims) for w in graph.initializer if w.data_type == 10)
        assert weights > 0
        assert record[name]["constants"]["bytes_after"] < record[name]["constants"]["bytes_before"]
        assert all(kept["why"] for kept in record[name]["kept"])
        before = onnx.load(rewritten.graphs[name]).graph
        assert [*graph.input, *graph.output] == [*before.input, *before.output]


def test_bfloat16_is_refused_where_it_cannot_be_proved(
    rewritten: Artifact, tiny_system: Any, tmp_path: Path
) -> None:
    with pytest.raises(GraphError, match="cannot be verified in bf16") as caught:
        Precision().run(rewritten, workspace_of(tiny_system, "bf16"), tmp_path)
    assert "no bfloat16 kernel on a CPU for" in str(caught.value)
    assert "--precision fp16" in str(caught.value)


def test_what_is_of_no_module_is_of_the_model_itself(tiny_system: Any) -> None:
    text = '<ir_version: 10, opset_import: ["": 23]> g (float[2,2] x) => (float[2,2] y)'
    model = ir.from_onnx_text(f"{text} <float[2,2] w = {{1,0,0,1}}> {{ y = MatMul(x, w) }}")
    ShapeInferencePass()(model)
    convert(model, FORMATS["bf16"])
    workspace = workspace_of(tiny_system, "bf16")
    with pytest.raises(GraphError, match="cannot be verified in bf16") as caught:
        _check_provable("whole", model, FORMATS["bf16"], workspace)
    assert "MatMul (1, as in the model itself)" in str(caught.value)


def test_a_request_that_changes_nothing_is_an_error(rewritten: Artifact) -> None:
    kept = [{"module": "", "why": "its operator takes no such type", "operators": {"Foo": 1}}]
    nothing = {"asked": "fp16", "components": {"model": {"nodes": 0, "kept": kept}}}
    artifact = replace(rewritten, records={"precision": nothing})
    with pytest.raises(GraphError, match="nothing in this model computes in fp16") as caught:
        Precision().ensures(artifact)
    assert "takes no such type" in str(caught.value)


def test_what_overflows_on_real_samples_stays_float32(write_project: Any, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", "plain")
    target = tmp_path / "small.toml"
    target.write_text(TARGET)
    path = project / "model.py"
    body = "self.last(torch.relu(self.first(x)))"
    assert body in path.read_text()
    loud = "self.last(torch.relu(self.first(x)) * 1e5) * 1e-5"
    path.write_text(path.read_text().replace(body, loud))
    compiled = compile_project(
        project,
        output=tmp_path / "half.mmedge",
        cache=tmp_path / "cache",
        threads=1,
        measure_seconds=0,
        precision="fp16",
        target=str(target),
    )
    assert {part["engine"]["precision"] for part in compiled.report["components"]} == {"fp16"}
    store = StageCache(tmp_path / "cache")
    key = next(entry.key for entry in store.entries() if entry.stage == "precision")
    artifact = store.load(key)
    assert artifact is not None
    (record,) = artifact.records["precision"]["components"].values()
    said = {operator: kept for kept in record["kept"] for operator in kept["operators"]}
    assert record["operators"] == {"Gemm": 1, "Relu": 1}
    assert "on real inputs" in said["Gemm"]["why"]
    assert said["Gemm"]["module"] == "last"
    with load(compiled.bundle) as bundle:
        inputs, wanted = bundle.golden()
        produced = bundle.run(inputs)
    for name, reference in wanted.items():
        assert np.abs(produced[name] - reference).max() <= 2e-2 * np.abs(reference).max()
        assert produced[name].dtype == reference.dtype


def test_features_go_between_components_in_float16(write_project: Any, tmp_path: Path) -> None:
    """The model's own inputs and outputs are what they were."""
    target = tmp_path / "small.toml"
    target.write_text(TARGET)
    compiled = compile_project(
        write_project(tmp_path / "project", "tiny"),
        output=tmp_path / "half.mmedge",
        cache=tmp_path / "cache",
        threads=1,
        measure_seconds=0.1,
        allow_slower=True,
        precision="fp16",
        io_precision="same",
        target=str(target),
    )
    with load(compiled.bundle) as bundle:
        between = [
            bundle.wiring.sources()[source].dtype
            for component in bundle.wiring.components
            for source in component.bindings.values()
            if "." in source
        ]
        assert between == ["float16"] * len(between)
        assert between
        inputs, wanted = bundle.golden()
        produced = bundle.run(inputs)
    assert {name: array.dtype for name, array in produced.items()} == {
        name: array.dtype for name, array in wanted.items()
    }
    assert np.abs(produced["logits"] - wanted["logits"]).max() <= 2e-2
