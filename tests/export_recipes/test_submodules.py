from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.recipes import Split

SplitModel = Callable[..., Split]


class TwoBranches(nn.Module):
    """Arithmetic before, between and after two submodules."""

    def __init__(self) -> None:
        super().__init__()
        self.left_encoder = nn.Linear(3, 4)
        self.deep = nn.ModuleDict({"right": nn.Linear(3, 4)})
        self.head = nn.Linear(4, 2)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        b = self.deep["right"](right * 2)
        a = self.left_encoder(left - b.mean(dim=1, keepdim=True))
        return {"scores": self.head(a * b), "features": a}


EXAMPLE = {"left": torch.randn(2, 3), "right": torch.randn(2, 3)}


def assert_same(split: Split, inputs: dict[str, Tensor]) -> None:
    """The components one after the other are the model."""
    values = split.run(inputs)
    wanted = split.reference(inputs)
    assert list(split.outputs) == list(wanted)
    for name, source in split.outputs.items():
        torch.testing.assert_close(values[source], wanted[name], rtol=0, atol=0)


def test_the_components_are_the_model(split_model: SplitModel) -> None:
    split = split_model(TwoBranches(), EXAMPLE, components=["deep.right", "left_encoder"])
    assert_same(split, EXAMPLE)
    assert_same(split, {name: torch.randn(5, 3) for name in EXAMPLE})


def test_components_are_ordered_by_call_and_named_by_path(split_model: SplitModel) -> None:
    split = split_model(
        TwoBranches(), EXAMPLE, components=["left_encoder", "deep.right"], rest="tail"
    )
    assert [c.name for c in split.components] == ["deep_right", "left_encoder", "tail"]
    outputs = {c.name: c.outputs for c in split.components}
    assert outputs["deep_right"] == ("deep_right_features",)
    assert outputs["left_encoder"] == ("left_features",)
    assert split.outputs == {"scores": "tail.scores", "features": "tail.features"}
    assert split.components[1].bindings == {
        "left": "left",
        "right": "right",
        "deep_right_features": "deep_right.deep_right_features",
    }
    assert_same(split, EXAMPLE)


@pytest.mark.parametrize("listed", [["left_encoder"], ["deep.right", "left_encoder", "head"]])
def test_the_model_is_left_as_it_was(split_model: SplitModel, listed: list[str]) -> None:
    model = TwoBranches()
    before = model(**EXAMPLE)
    split = split_model(model, EXAMPLE, components=listed)
    split.run(EXAMPLE)
    for module in model.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks
    for name, tensor in model(**EXAMPLE).items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_the_model_is_left_as_it_was_when_forward_fails(split_model: SplitModel) -> None:
    model = TwoBranches()
    split = split_model(model, EXAMPLE, components=["deep.right", "left_encoder"])
    with pytest.raises(RuntimeError):
        split.run({"left": torch.randn(2, 3), "right": torch.randn(2, 7)})
    assert all("forward" not in vars(module) for module in model.modules())


def test_a_forward_set_on_an_instance_survives(split_model: SplitModel) -> None:
    model = TwoBranches()

    def doubled(x: Tensor) -> Tensor:
        return nn.functional.linear(x, model.left_encoder.weight) * 2

    model.left_encoder.forward = doubled
    split = split_model(model, EXAMPLE, components=["left_encoder"])
    assert_same(split, EXAMPLE)
    assert model.left_encoder.forward is doubled


class Nested(nn.Module):
    """An LSTM, whose result is (output, (hidden, cell))."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output, (hidden, cell) = self.lstm(x)
        return output.sum(dim=1) + hidden[-1] * cell[-1]


def test_nested_results_are_flattened_and_restored(split_model: SplitModel) -> None:
    example = {"x": torch.randn(2, 5, 3)}
    split = split_model(Nested(), example, components=["lstm"])
    assert split.components[0].outputs == tuple(f"lstm_features_{i}" for i in range(3))
    assert_same(split, example)


class DictResult(nn.Module):
    """A submodule that returns a mapping."""

    class Inner(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"b": x + 1, "a": x * 2}

    def __init__(self) -> None:
        super().__init__()
        self.inner = self.Inner()

    def forward(self, x: Tensor) -> Tensor:
        result = self.inner(x)
        return result["a"] - result["b"]


def test_a_mapping_is_restored_with_its_keys(split_model: SplitModel) -> None:
    example = {"x": torch.randn(2, 3)}
    assert_same(split_model(DictResult(), example, components=["inner"]), example)


class Twice(nn.Module):
    """One submodule called twice, and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(3, 3)
        self.idle = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(self.shared(x))


@pytest.mark.parametrize(("path", "times"), [("shared", 2), ("idle", 0)])
def test_a_submodule_must_be_called_once(split_model: SplitModel, path: str, times: int) -> None:
    with pytest.raises(ProjectError, match=f"forward calls submodule '{path}' {times} times"):
        split_model(Twice(), {"x": torch.randn(2, 3)}, components=[path])


@pytest.mark.parametrize(
    ("path", "hint"),
    [("left_encodr", "'left_encoder'"), ("deep.rigth", "'deep.right'"), ("", "left_encoder")],
)
def test_an_unknown_path_names_the_nearest(split_model: SplitModel, path: str, hint: str) -> None:
    with pytest.raises(ProjectError, match="the model has no submodule") as caught:
        split_model(TwoBranches(), EXAMPLE, components=[path])
    assert hint in str(caught.value.details["try"])


class ReturnsText(nn.Module):
    """A submodule that returns something else than tensors."""

    class Inner(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, str]:
            return x, "text"

    def __init__(self) -> None:
        super().__init__()
        self.inner = self.Inner()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0] * 2


def test_a_submodule_must_return_tensors(split_model: SplitModel) -> None:
    with pytest.raises(ProjectError, match="does not return tensors") as caught:
        split_model(ReturnsText(), {"x": torch.randn(2, 3)}, components=["inner"])
    assert caught.value.details["found"] == "str"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": ["head"], "rset": "x"}, "unknown key 'rset'"),
        ({}, "is missing"),
        ({"components": ["head"], "rest": "head"}, "two components would be called 'head'"),
    ],
)
def test_options_are_strict(split_model: SplitModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        split_model(TwoBranches(), EXAMPLE, **options)


class SameNames(nn.Module):
    """An input, a submodule's features and an output that would all be called the same."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(3, 3)
        self.image_encoder = nn.Linear(3, 3)

    def forward(self, image_features: Tensor) -> dict[str, Tensor]:
        features = self.image(image_features)
        return {"image_features": self.image_encoder(features) + image_features}


def test_equal_names_of_different_tensors_are_told_apart(split_model: SplitModel) -> None:
    example = {"image_features": torch.randn(2, 3)}
    split = split_model(SameNames(), example, components=["image", "image_encoder"])
    assert list(split.outputs) == ["image_features"]
    assert_same(split, example)
    for component in split.components:
        assert not set(component.outputs) & set(component.bindings)


class InPlace(nn.Module):
    """Forward goes on to change what a submodule returned."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(x)
        doubled = features * 2
        features += 1
        return doubled, features


def test_features_that_forward_changes_in_place_are_sound(split_model: SplitModel) -> None:
    example = {"x": torch.randn(2, 3)}
    split = split_model(InPlace(), example, components=["encoder"])
    assert_same(split, example)
    assert_same(split, example)


class Outputs(nn.Module):
    """Returns whatever `result` makes of its input."""

    result: ClassVar[Callable[[Tensor], object]]

    def forward(self, x: Tensor) -> object:
        return type(self).result(x)


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (lambda x: x, ["output"]),
        (lambda x: (x, x + 1), ["output_0", "output_1"]),
        (lambda x: {"a": x, "b": (x, x + 1)}, ["a", "b.output_0", "b.output_1"]),
        (lambda x: {"a": x, "n": None}, ["a"]),
    ],
)
def test_outputs_are_named_as_forward_names_them(
    split_model: SplitModel, result: Callable[[Tensor], object], names: list[str]
) -> None:
    model = type("Returns", (Outputs,), {"result": staticmethod(result)})()
    split = split_model(model, {"x": torch.randn(2, 3)}, "single_graph")
    assert list(split.outputs) == names
    assert_same(split, {"x": torch.randn(2, 3)})


def test_output_tables_name_unnamed_outputs(split_model: SplitModel) -> None:
    model = type("Pair", (Outputs,), {"result": staticmethod(lambda x: (x, x + 1))})()
    example = {"x": torch.randn(2, 3)}
    tables = {"outputs": {"first": {}, "second": {}}}
    assert list(split_model(model, example, "single_graph", tables).outputs) == ["first", "second"]
    with pytest.raises(ProjectError, match="does not match what forward returns"):
        split_model(model, example, "single_graph", {"outputs": {"only": {}}})


def test_a_forward_that_returns_no_tensor_is_refused(split_model: SplitModel) -> None:
    model = type("Number", (Outputs,), {"result": staticmethod(lambda x: 3)})()
    with pytest.raises(ProjectError, match="not a tensor"):
        split_model(model, {"x": torch.randn(2, 3)}, "single_graph")


def test_inputs_must_be_forwards_arguments(split_model: SplitModel) -> None:
    with pytest.raises(ProjectError, match=r"does not match TwoBranches\.forward") as caught:
        split_model(
            TwoBranches(), {"left": EXAMPLE["left"], "rihgt": EXAMPLE["right"]}, "single_graph"
        )
    assert "'right'" in str(caught.value.details["try"])
