"""Outputs are judged by the tolerance, and by the model's own rounding where that is larger."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmedge.errors import VerificationError
from mmedge.recipes import ComponentModule, Split
from mmedge.verify.end_to_end import EndToEnd
from mmedge.verify.judge import check_numbers, judge_outputs, judge_split
from mmedge.verify.outputs import differences
from mmedge.verify.own_rounding import OwnRounding
from mmedge.verify.sides import Outputs

TOLERANCE = 1e-4


def compared(wanted: Outputs, found: Outputs) -> EndToEnd:
    return EndToEnd(differences(wanted, found), [wanted], [found], [0])


@given(moved=st.floats(0, 1e-2))
def test_up_to_the_tolerance_and_no_farther(moved: float) -> None:
    wanted = np.array([1.0, -0.5])
    both = compared({"y": wanted}, {"y": wanted - [moved, 0]})
    if both.differences["y"].relative <= TOLERANCE:
        judge_outputs(both, TOLERANCE)
        judge_split(both.differences, TOLERANCE)
        return
    with pytest.raises(VerificationError, match="'y' without sound is not equal"):
        judge_outputs(both, TOLERANCE, when=" without sound")
    with pytest.raises(VerificationError, match="do not compute what forward computes: y"):
        judge_split(both.differences, TOLERANCE)


def amplifying() -> OwnRounding:
    """A model of which float32 keeps next to nothing behind the point, and rounds its choice."""

    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 20_000) - 20_000

    model = Model()
    component = ComponentModule("model", model, {"x": "x"}, ("y",))
    split = Split(
        (component,), {"y": "model.y"}, lambda inputs: {"y": model(inputs["x"]), "z": inputs["x"]}
    )
    return OwnRounding(model, split, {"x": torch.linspace(0, 1, 64)})


def test_the_models_own_rounding_excuses_floats_and_never_integers() -> None:
    wanted, near = np.array([1.0, 0.5], np.float32), np.array([1.001, 0.5], np.float32)
    judge_outputs(compared({"y": wanted}, {"y": near}), TOLERANCE, own=amplifying())
    with pytest.raises(VerificationError, match="output 'z'"):
        judge_outputs(compared({"z": wanted}, {"z": near}), TOLERANCE, own=amplifying())
    tokens, others = np.array([[1, 2]]), np.array([[1, 3]])
    with pytest.raises(VerificationError, match="1 of 2 integers differ"):
        judge_outputs(compared({"y": tokens}, {"y": others}), TOLERANCE, own=amplifying())
    with pytest.raises(VerificationError, match="became NaN"):
        judge_outputs(compared({"y": wanted}, {"y": near * np.nan}), TOLERANCE, own=amplifying())


def test_a_model_of_nan_is_refused_though_the_engine_agrees() -> None:
    nothing = np.array([1.0, np.nan])
    both = compared({"y": nothing}, {"y": nothing})
    judge_outputs(both, TOLERANCE)
    with pytest.raises(VerificationError, match="model itself gives NaN in output 'y'") as caught:
        check_numbers(both)
    assert caught.value.details["found"] == "1 of 2 values"
