"""What cannot be exported is refused with the user's own line and a way out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmedge.errors import ExportError
from mmedge.graph.export import export_component
from mmedge.graph.files import graph_specs, load_graph, save_graph
from mmedge.recipes import ComponentModule
from mmedge.runtime.runner import open_engine
from mmedge.tensors import Axis, TensorSpec

AXES = {"batch": Axis(1, 1, 64), "words": Axis(2, 8, 32)}
HEADER = """import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
"""
FIRST_LINE = len(HEADER.splitlines()) + 1


@pytest.fixture
def export(tmp_path: Path):
    """`export(body)` exports a forward with these lines; x is float32 [batch, words, 4]."""

    def run(*body: str, outputs: tuple[str, ...] = ("y",), batch: int = 2):
        path = tmp_path / "model.py"
        path.write_text(HEADER + "".join(f"        {line}\n" for line in body))
        spec = importlib.util.spec_from_file_location("exported_model", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        torch.manual_seed(0)
        component = ComponentModule(
            "encoder", module.Model().eval().requires_grad_(False), {"x": "x"}, outputs
        )
        shape = TensorSpec("x", "float32", ("batch", "words", 4))
        return component, export_component(
            component,
            [shape],
            [torch.randn(batch, 6, 4)],
            axes=AXES,
            opset=18,
            project_directory=tmp_path,
        )

    return run


def refused(export, *body: str) -> ExportError:
    with pytest.raises(ExportError) as caught:
        export(*body)
    assert "component 'encoder'" in caught.value.what
    return caught.value


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (["if x.sum() > 0:", "    x = -x", "return self.linear(x)"], 0),
        (["y = self.linear(x)", "n = int(y.argmax())", "return y[:, : n % 2 + 1]"], 1),
        (["y = self.linear(x)", "while y.abs().max() > 1:", "    y = y / 2", "return y"], 1),
    ],
    ids=["if", "item", "while"],
)
def test_control_flow_on_values_names_the_line_and_the_way_out(
    export, tmp_path: Path, body: list[str], line: int
) -> None:
    error = refused(export, *body)
    assert "control flow depends on the values" in error.what
    where = str(error.details["where"])
    assert f"{tmp_path / 'model.py'}" in where
    assert str(FIRST_LINE + line) in where
    assert "torch.where" in str(error.details["try"])


@pytest.mark.parametrize(
    "body",
    [
        ["if x.shape[1] == 6:", "    return self.linear(x)", "return x"],
        ["return x.reshape(-1, 24)"],
        ["return self.linear(x) + torch.ones(6, 4)"],
    ],
    ids=["branch", "reshape", "constant"],
)
def test_an_axis_that_forward_fixes_is_named(export, body: list[str]) -> None:
    error = refused(export, *body)
    assert "dynamic axis" in error.what
    assert "words" in str(error.details["found"])
    assert "[inputs]" in str(error.details["try"])


def test_an_axis_that_admits_less_than_declared_says_what(export) -> None:
    error = refused(export, "assert x.shape[1] <= 16", "return self.linear(x)")
    assert "fewer sizes" in error.what
    assert "words = { max = 16 }" in str(error.details["try"])


def test_an_operation_without_onnx_form_is_named(export, tmp_path: Path) -> None:
    error = refused(export, "return torch.linalg.eigvals(x @ x.transpose(1, 2)).real")
    assert "no ONNX form" in error.what
    assert "eig" in str(error)
    assert "before or after the model" in str(error.details["try"])


def test_a_python_error_is_shown_with_its_line(export, tmp_path: Path) -> None:
    error = refused(export, "raise ValueError('no sound')")
    assert "ValueError: no sound" in str(error.details["found"])
    assert f"model.py:{FIRST_LINE}" in str(error.details["where"])


def check(export, tmp_path: Path, *body: str, outputs: tuple[str, ...]) -> None:
    """The exported graph gives torch's values at other sizes, under the declared names."""
    component, model = export(*body, outputs=outputs)
    path = tmp_path / "encoder.onnx"
    save_graph(model, path)
    taken, made = graph_specs(load_graph(path))
    assert [spec.name for spec in taken] == ["x"]
    assert taken[0].shape == ("batch", "words", 4)
    assert tuple(spec.name for spec in made) == outputs
    for batch, words in ((1, 2), (3, 6), (5, 32)):
        x = torch.randn(batch, words, 4)
        with torch.no_grad():
            result = component.module(x)
        wanted = result if isinstance(result, tuple) else (result,)
        with open_engine("onnxruntime", path, threads=1) as runner:
            found = runner.infer({"x": x.numpy()})
        for name, tensor in zip(outputs, wanted, strict=True):
            assert found[name].dtype == tensor.numpy().dtype
            np.testing.assert_allclose(found[name], tensor.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("line", "outputs"),
    [
        ("return x, x", ("first", "second")),
        ("y = self.linear(x); return y, y, x", ("first", "second", "third")),
        ("return self.linear(x), self.linear.bias", ("linear", "bias")),
        ("return self.linear(x).mean(1), x.max(1)[1], x > 0", ("mean", "max", "val_0")),
        ("return torch.where(x.sum() > 0, x, -x)", ("x_out",)),
    ],
    ids=["input", "same tensor", "parameter", "the exporter's names", "choice by value"],
)
def test_outputs_of_every_kind(export, tmp_path: Path, line: str, outputs: tuple[str, ...]) -> None:
    check(export, tmp_path, line, outputs=outputs)


def test_the_graph_holds_nothing_of_the_users_files(export, tmp_path: Path) -> None:
    _, model = export("secret = self.linear(x)", "return secret")
    path = tmp_path / "encoder.onnx"
    save_graph(model, path)
    data = path.read_bytes()
    assert b"secret = " not in data
    assert str(tmp_path).encode() not in data


def test_weights_beside_the_graph_are_read_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmedge.graph.files.INLINE_LIMIT_BYTES", 1000)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 100), nn.Linear(100, 2)).eval()
    component = ComponentModule("encoder", module, {"x": "x"}, ("y",))
    x = torch.randn(2, 4)
    model = export_component(
        component,
        [TensorSpec("x", "float32", ("batch", 4))],
        [x],
        axes=AXES,
        opset=18,
        project_directory=tmp_path,
    )
    path = tmp_path / "encoder.onnx"
    save_graph(model, path)
    assert (tmp_path / "encoder.data").stat().st_size >= 400 * 4
    with open_engine("onnxruntime", path, threads=1) as runner:
        found = runner.infer({"x": x.numpy()})["y"]
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-5, atol=1e-6)
