"""LSTM, GRU and RNN keep a dynamic number of steps, and are one ONNX operator a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from mmedge.graph.export import export_component
from mmedge.graph.recurrent import recurrent_shapes
from mmedge.recipes import ComponentModule
from mmedge.runtime.runner import open_engine
from mmedge.tensors import Axis, TensorSpec

AXES = {"batch": Axis(1, 1, 64), "steps": Axis(1, 1, 64)}


class Flat(nn.Module):
    """The layer with its outputs and states as a flat tuple."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.model = layer

    def forward(self, sound: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output, state = self.model(sound)
        return (output, *state) if isinstance(state, tuple) else (output, state)


def relu_rnn(*sizes: int, **options: Any) -> nn.RNN:
    return nn.RNN(*sizes, nonlinearity="relu", **options)


LAYERS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN, "relu RNN": relu_rnn}
VARIANTS = [
    {"batch_first": True},
    {"num_layers": 2, "bias": False},
    {"bidirectional": True, "batch_first": True, "num_layers": 2},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_every_number_of_steps_gives_torchs_values(
    name: str, variant: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = Flat(LAYERS[name](4, 8, **variant)).eval()
    outputs = ("output", "hidden", "cell") if name == "LSTM" else ("output", "hidden")
    component = ComponentModule("layer", module, {"sound": "sound"}, outputs, prefix="model.")
    batch_first = variant.get("batch_first", False)
    spec = TensorSpec("sound", "float32", _shape("batch", "steps", batch_first=batch_first))
    example = torch.randn(*_shape(2, 5, batch_first=batch_first))
    model = export_component(
        component, [spec], [example], axes=AXES, opset=18, project_directory=tmp_path
    )
    kinds = [node.op_type for node in model.graph if node.op_type in {"LSTM", "GRU", "RNN"}]
    assert kinds == [name.split()[-1]] * variant.get("num_layers", 1)
    ir.save(model, tmp_path / "layer.onnx")
    with open_engine("onnxruntime", tmp_path / "layer.onnx") as engine:
        for batch, steps in ((2, 5), (1, 1), (3, 9)):
            sound = torch.randn(*_shape(batch, steps, batch_first=batch_first))
            found = engine.infer({"sound": sound.numpy()})
            with torch.no_grad():
                wanted = module(sound)
            for output, reference in zip(outputs, wanted, strict=True):
                np.testing.assert_allclose(found[output], reference.numpy(), atol=1e-6)


def _shape(batch: Any, steps: Any, *, batch_first: bool) -> tuple[Any, ...]:
    return (batch, steps, 4) if batch_first else (steps, batch, 4)


def test_torchs_own_rules_are_back_afterwards() -> None:
    layer = nn.LSTM(3, 5).eval()
    sound = torch.randn(4, 2, 3)
    with torch.no_grad():
        before = layer(sound)[0]
        with recurrent_shapes():
            during = layer(sound)[0]
        after = layer(sound)[0]
    assert torch.equal(before, after)
    assert torch.equal(before, during), "real tensors are never touched"
