"""A weight of an exported graph is spoilt: the search names the module it belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from mmedge.graph.export import export_component
from mmedge.graph.files import save_graph
from mmedge.recipes import ComponentModule
from mmedge.tensors import Axis, TensorSpec
from mmedge.verify.bisect import first_divergence

TOLERANCE = 1e-4


class Block(nn.Module):
    """A residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.wide = nn.Linear(8, 16)
        self.narrow = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(torch.tanh(self.wide(self.norm(x))))


class Encoder(nn.Module):
    """A stem, blocks, a head; under a wrapper, as recipes have it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Wrapper(nn.Module):
    """What a recipe puts around the user's model."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Encoder()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


@pytest.fixture(scope="module")
def component() -> ComponentModule:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = Wrapper().eval().requires_grad_(False)
    return ComponentModule("encoder", module, {"x": "x"}, ("y",), prefix="model.")


@pytest.fixture(scope="module")
def graph(component: ComponentModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    spec = TensorSpec("x", "float32", ("batch", 4))
    model = export_component(
        component,
        [spec],
        [torch.randn(2, 4)],
        axes={"batch": Axis(1, 1, 8)},
        opset=18,
        project_directory=folder,
    )
    save_graph(model, folder / "encoder.onnx")
    return folder / "encoder.onnx"


def spoilt(graph: Path, weight: str, folder: Path, value: float = 0.5) -> Path:
    """A copy of the graph in which one entry of one weight is moved by `value`."""
    model = ir.load(graph)
    initializer = next(v for k, v in model.graph.initializers.items() if k.endswith(weight))
    assert initializer.const_value is not None
    array = np.array(initializer.const_value.numpy())
    array.flat[0] += value
    initializer.const_value = ir.tensor(array, name=initializer.name)
    save_graph(model, folder / "spoilt.onnx")
    return folder / "spoilt.onnx"


INPUTS = {"x": torch.linspace(-1, 1, 12).reshape(3, 4)}


def test_an_equal_graph_has_no_divergence(component: ComponentModule, graph: Path) -> None:
    assert first_divergence(component, graph, INPUTS, TOLERANCE) is None


@pytest.mark.parametrize(
    ("module", "before"),
    [
        ("stem", None),
        ("blocks.0.norm", "stem"),
        ("blocks.1.wide", "blocks.1.norm"),
        ("blocks.2.narrow", "blocks.2.wide"),
        ("head", "blocks.2"),
    ],
)
def test_the_first_module_that_differs_is_named(
    component: ComponentModule, graph: Path, tmp_path: Path, module: str, before: str | None
) -> None:
    broken = spoilt(graph, f"{module}.weight", tmp_path)
    found = first_divergence(component, broken, INPUTS, TOLERANCE)
    assert found is not None
    assert (found.component, found.module, found.last_equal) == ("encoder", module, before)
    assert found.operator in {"Gemm", "MatMul", "Add", "LayerNormalization"}
    assert found.difference.relative > TOLERANCE


def test_nan_is_a_divergence(component: ComponentModule, graph: Path, tmp_path: Path) -> None:
    broken = spoilt(graph, "blocks.1.wide.weight", tmp_path, value=float("nan"))
    found = first_divergence(component, broken, INPUTS, 1e9)
    assert found is not None
    assert found.module == "blocks.1.wide"
    assert found.difference.not_finite > 0


def test_below_the_tolerance_is_none(
    component: ComponentModule, graph: Path, tmp_path: Path
) -> None:
    broken = spoilt(graph, "head.weight", tmp_path, value=1e-7)
    assert first_divergence(component, broken, INPUTS, TOLERANCE) is None


def test_weights_beside_the_graph(
    component: ComponentModule, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmedge.graph.files.INLINE_LIMIT_BYTES", 100)
    monkeypatch.setattr("mmedge.graph.files.SMALL_BYTES", 100)
    broken = spoilt(graph, "blocks.1.narrow.weight", tmp_path)
    assert (tmp_path / "spoilt.data").stat().st_size > 0
    found = first_divergence(component, broken, INPUTS, TOLERANCE)
    assert found is not None
    assert found.module == "blocks.1.narrow"
