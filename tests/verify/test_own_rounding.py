"""A model may amplify rounding: then its own float32 says how equal an engine can be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmedge.recipes import ComponentModule, Split
from mmedge.verify.metrics import DifferenceAccumulator
from mmedge.verify.own_rounding import LARGEST, OwnRounding

TOLERANCE = 1e-4
INPUTS = {"x": torch.randn(4, 64, generator=torch.Generator().manual_seed(0))}


class Amplifying(nn.Module):
    """The small difference of two large sums: what is left is far less exact than its parts."""

    def __init__(self, *, scale: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 8)
        self.register_buffer("table", torch.linspace(0, 1, 8, dtype=torch.float64))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        large = self.first(x)
        near = (large.flip(-1) + self.scale).flip(-1) - self.scale
        found: Tensor = self.last(near) + self.table.to(x.dtype)
        return found


class InAnotherOrder(Amplifying):
    """The same numbers, rounded elsewhere, as by an engine."""

    def forward(self, x: Tensor) -> Tensor:
        large = self.first(x)
        near = (self.scale / 3 + large) + 2 * self.scale / 3 - self.scale
        found: Tensor = self.last(near) + self.table.to(x.dtype)
        return found


def taken(model: nn.Module, reference: Callable[..., Any] | None = None) -> Split:
    @torch.no_grad()
    def run(inputs: Any) -> dict[str, Tensor]:
        return {"y": model(inputs["x"])}

    component = ComponentModule("model", model, {"x": "x"}, ("y",))
    return Split((component,), {"y": "model.y"}, reference or run)


def moved(engine: nn.Module, model: nn.Module) -> float:
    accumulator = DifferenceAccumulator()
    with torch.no_grad():
        accumulator.add(model(INPUTS["x"]).numpy(), engine(INPUTS["x"]).numpy())
    return accumulator.result().relative


def perturbed(model: nn.Module) -> nn.Module:
    """The weights a hundredth off."""
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.mul_(1 + 1e-2 * torch.randn_like(parameter).sign())
    return changed


def test_a_right_engine_of_an_amplifying_model_passes_and_a_wrong_one_fails() -> None:
    model = Amplifying(scale=20_000)
    engine = InAnotherOrder(scale=20_000)
    engine.load_state_dict(model.state_dict())
    own = OwnRounding(model, taken(model), INPUTS)
    assert moved(engine, model) > TOLERANCE, "too well conditioned to show anything"
    for allowed in (own.allowed("model", "y"), own.allowed_output("y")):
        assert moved(engine, model) < allowed < moved(perturbed(model), model)
    assert own.used.keys() == {"model.y", "y"}
    assert set(own.used.values()) == {own.allowed_output("y")}, "the report says what was allowed"


def test_a_well_conditioned_model_gets_next_to_no_room() -> None:
    model = Amplifying(scale=0)
    own = OwnRounding(model, taken(model), INPUTS)
    assert 0 < own.allowed_output("y") < TOLERANCE < moved(perturbed(model), model)


def test_the_room_has_a_limit() -> None:
    """Of a model whose float32 is noise, every engine would be as good."""
    model = Amplifying(scale=1e8)
    own = OwnRounding(model, taken(model), INPUTS)
    assert own.allowed_output("y") == LARGEST


def state(model: nn.Module) -> dict[str, tuple[torch.dtype, bytes]]:
    return {
        name: (tensor.dtype, tensor.detach().view(torch.uint8).numpy().tobytes())
        for name, tensor in model.state_dict().items()
    }


def test_weights_come_back_bit_for_bit_each_in_its_dtype() -> None:
    model = Amplifying(scale=10)
    model.last = model.last.half()
    with torch.no_grad():
        model.first.weight[0, 0] = 1e-45  # the smallest there is
        model.table[0] = 1 / 3  # more than float32 holds
    model.forward = lambda x: model.first(x)  # type: ignore[method-assign]
    before = state(model)
    own = OwnRounding(model, taken(model), INPUTS)
    assert own.allowed_output("y") > 0
    assert state(model) == before
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize("error", [RuntimeError, TypeError, KeyError])
def test_a_model_that_insists_on_float32_gets_no_room(error: type[Exception]) -> None:
    """And is whole afterwards."""
    model = Amplifying(scale=10)

    def insisting(inputs: Any) -> dict[str, Tensor]:
        if inputs["x"].dtype != torch.float32:
            raise error("expected Float")
        return {"y": model(inputs["x"]).detach()}

    before = state(model)
    own = OwnRounding(model, taken(model, insisting), INPUTS)
    assert own.allowed_output("y") == 0
    assert state(model) == before
    assert torch.get_default_dtype() is torch.float32


def test_what_cannot_be_told_gets_no_room() -> None:
    model = Amplifying(scale=10)

    def integers(inputs: Any) -> dict[str, Tensor]:
        return {"y": model(inputs["x"]).argmax(-1), "z": inputs["x"][: inputs["x"].element_size()]}

    own = OwnRounding(model, taken(model, integers), INPUTS)
    assert [own.allowed_output(name) for name in ("y", "z", "no such")] == [0, 0, 0]
