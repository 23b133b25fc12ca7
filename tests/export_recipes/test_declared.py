from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.recipes import Split

SplitModel = Callable[..., Split]


class Towers(nn.Module):
    """Two towers and a product; the product is called with one tensor twice, too."""

    class Product(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
            return a @ b.T, a - b

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(3, 4)
        self.text = nn.Linear(5, 4)
        self.product = self.Product()

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return self.product(self.image(image), self.text(text))


EXAMPLE = {"image": torch.randn(2, 3), "text": torch.randn(2, 5)}
COMPONENTS = {
    "image_encoder": {"module": "image", "inputs": ["image"], "outputs": ["image"]},
    "text_encoder": {"module": "text", "inputs": ["text"], "outputs": ["features"]},
    "product": {
        "module": "product",
        "inputs": ["image_encoder.image", "text_encoder.features"],
        "outputs": ["scores", "difference"],
    },
}
WIRING = {"scores": "product.scores", "difference": "product.difference"}


def tables(wiring: dict[str, str] = WIRING, **changes: dict[str, Any]) -> dict[str, Any]:
    """mmedge.toml's [components] and [wiring], with keys of one component changed."""
    components = {name: {**table, **changes.get(name, {})} for name, table in COMPONENTS.items()}
    return {"components": components, "wiring": wiring}


def test_components_run_as_declared(split_model: SplitModel) -> None:
    split = split_model(Towers(), EXAMPLE, "declared", tables())
    values, wanted = split.run(EXAMPLE), split.reference(EXAMPLE)
    assert list(wanted) == ["scores", "difference"]
    for name, source in split.outputs.items():
        torch.testing.assert_close(values[source], wanted[name], rtol=0, atol=0)


def test_an_output_may_have_its_inputs_name(split_model: SplitModel) -> None:
    component = split_model(Towers(), EXAMPLE, "declared", tables()).components[0]
    assert component.outputs == ("image",)
    assert not set(component.outputs) & set(component.bindings)


def test_a_source_may_be_taken_twice(split_model: SplitModel) -> None:
    twice = tables(product={"inputs": ["text_encoder.features", "text_encoder.features"]})
    split = split_model(Towers(), EXAMPLE, "declared", twice)
    difference = split.run(EXAMPLE)["product.difference"]
    torch.testing.assert_close(difference, torch.zeros(2, 4), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changed", "message", "hint"),
    [
        ({"image_encoder": {"module": "imaeg"}}, "no submodule 'imaeg'", "'image'"),
        ({"image_encoder": {"inputs": ["imag"]}}, "nothing before it makes", "'image'"),
        ({"image_encoder": {"inputs": ["text"]}}, "'image_encoder' fails on its inputs", "order"),
        ({"image_encoder": {"inputs": []}}, "'image_encoder' fails on its inputs", "order"),
        ({"product": {"outputs": ["scores"]}}, "another number of tensors", None),
    ],
)
def test_what_does_not_fit_is_refused(
    split_model: SplitModel, changed: dict[str, Any], message: str, hint: str | None
) -> None:
    with pytest.raises(ProjectError, match=message) as caught:
        split_model(Towers(), EXAMPLE, "declared", tables(**changed))
    assert hint is None or hint in str(caught.value.details["try"])


@pytest.mark.parametrize(
    ("wiring", "message"),
    [
        ({}, "no output is wired"),
        ({"scores": "product.score"}, "which no component makes"),
        ({"only": "product.scores"}, "does not match what forward returns"),
    ],
)
def test_wiring_that_does_not_fit_is_refused(
    split_model: SplitModel, wiring: dict[str, str], message: str
) -> None:
    with pytest.raises(ProjectError, match=message):
        split_model(Towers(), EXAMPLE, "declared", tables(wiring))
