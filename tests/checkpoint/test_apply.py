from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmedge.checkpoint.apply import apply_state_dict
from mmedge.errors import CheckpointError


class Tied(nn.Module):
    """An embedding and an output layer of one weight, as language models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1))


def linear_state(outputs: int = 2) -> dict[str, torch.Tensor]:
    return {"weight": torch.randn(outputs, 3), "bias": torch.randn(outputs)}


def test_weights_arrive_and_are_counted() -> None:
    model, state = nn.Linear(3, 2), linear_state()
    record = apply_state_dict(model, state, where="w")
    assert torch.equal(model.weight, state["weight"])
    assert (record.tensors, record.parameters, record.size_bytes) == (2, 8, 32)
    assert record.dtypes == {"float32": 2}
    assert record.converted == {}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted_and_recorded(dtype: torch.dtype) -> None:
    model = nn.Linear(3, 2)
    state = {name: tensor.to(dtype) for name, tensor in linear_state().items()}
    record = apply_state_dict(model, state, where="w")
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, state["weight"].float())
    name = str(dtype).removeprefix("torch.")
    assert record.converted == dict.fromkeys(state, f"{name} -> float32")
    assert record.dtypes == {name: 2}


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_quantized_weights_are_refused(dtype: torch.dtype) -> None:
    state = linear_state() | {"weight": torch.ones(2, 3).to(dtype)}
    with pytest.raises(CheckpointError, match=r"weight: found (int8|float8)"):
        apply_state_dict(nn.Linear(3, 2), state, where="w")


def test_everything_that_does_not_fit_is_listed_at_once() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(2, 2)})
    state = {"a.weight": torch.ones(4, 3), "a.bias": torch.ones(2), "c": torch.ones(1)}
    with pytest.raises(CheckpointError) as caught:
        apply_state_dict(model, state, where="weights.pt")
    text = str(caught.value)
    assert "2 missing" in text
    assert "b.weight" in text
    assert "b.bias" in text
    assert "1 unexpected" in text
    assert "a.weight: found [4, 3], expected [2, 3]" in text
    assert "weights.pt" in text


def test_long_lists_are_counted_and_cut() -> None:
    state = {f"extra.{i:03}": torch.ones(1) for i in range(50)}
    with pytest.raises(CheckpointError, match=r"50 unexpected(.|\n)*and 30 more") as caught:
        apply_state_dict(nn.Identity(), state, where="w")
    assert "extra.019" in str(caught.value)
    assert "extra.020" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "saved"), [("w.pt", torch.save), ("w.safetensors", safetensors.torch.save_file)]
)
def test_the_way_out_of_too_many_weights_is_one(
    tmp_path: Path, where: str, saved: Callable[..., None]
) -> None:
    state, model = linear_state() | {"extra.one": torch.ones(1)}, nn.Linear(3, 2)
    with pytest.raises(CheckpointError) as caught:
        apply_state_dict(model, state, where=tmp_path / where)
    line = str(caught.value.details["try"]).splitlines()[-1]
    line = line.replace(where, str(tmp_path / where))
    exec(line, {"state": state, "model": model, "torch": torch, "save_file": saved})
    load = safetensors.torch.load_file if "safe" in where else torch.load
    apply_state_dict(model, load(tmp_path / where), where=where)


@pytest.mark.parametrize(
    ("rename", "hint"),
    [
        (lambda name: f"model.{name}", "checkpoint's names start with 'model.'"),
        (lambda name: name.removeprefix("0."), "model's names start with '0.'"),
        (lambda name: name.replace("weight", "weigth"), "'0.weigth' in the checkpoint"),
    ],
)
def test_names_that_look_alike_are_hinted(rename, hint: str) -> None:  # type: ignore[no-untyped-def]
    state = {rename(f"0.{name}"): tensor for name, tensor in linear_state().items()}
    with pytest.raises(CheckpointError) as caught:
        apply_state_dict(nn.Sequential(nn.Linear(3, 2)), state, where="w")
    assert hint in str(caught.value)


def test_tied_weight_may_be_stored_once() -> None:
    model = Tied()
    state = {"embed.weight": torch.randn(5, 3), "mask": model.mask.clone()}
    apply_state_dict(model, state, where="w")
    assert torch.equal(model.out.weight, state["embed.weight"])


def test_tied_weights_that_differ_are_an_error() -> None:
    model = Tied()
    state = model.state_dict() | {"out.weight": torch.randn(5, 3)}
    with pytest.raises(CheckpointError, match="ties"):
        apply_state_dict(model, state, where="w")


@given(
    bad=st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    count=st.integers(1, 6),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_non_finite_weights_are_counted(bad: float, count: int, dtype: torch.dtype) -> None:
    weight = torch.zeros(6, dtype=dtype)
    weight[:count] = bad
    state = {"weight": weight.reshape(2, 3), "bias": torch.zeros(2)}
    with pytest.raises(CheckpointError, match=f"weight: {count} of 6 values"):
        apply_state_dict(nn.Linear(3, 2), state, where="w")


def test_statistics_that_are_not_finite_are_an_error() -> None:
    model = nn.BatchNorm1d(2)
    state = model.state_dict() | {"running_var": torch.tensor([1.0, float("inf")])}
    with pytest.raises(CheckpointError, match="running_var: 1 of 2"):
        apply_state_dict(model, state, where="w")


def test_hooks_that_rename_old_weights_still_run() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    old = nn.utils.weight_norm(nn.Linear(3, 2)).state_dict()
    assert "weight_g" in old
    apply_state_dict(model, old, where="w")
    assert torch.equal(model.parametrizations.weight.original0, old["weight_g"])
