from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from mmedge.errors import ProjectError
from mmedge.graph.boundaries import infer_boundaries
from mmedge.recipes import ComponentModule, Split
from mmedge.tensors import Axis, TensorSpec
from mmedge.wiring import ModelInput

SOUND = ModelInput(TensorSpec("sound", "float32", ("batch", 1, "samples")))
FREE = Axis(1, 1, 1000)


class Function(nn.Module):
    """A component from a Python function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.function(*tensors)


def split(function: Callable[..., Any], *outputs: str, inputs: tuple[str, ...]) -> Split:
    component = ComponentModule("encoder", Function(function), {n: n for n in inputs}, outputs)
    return Split((component,), {}, lambda tensors: dict(tensors))


def boundaries(
    function: Callable[..., Any],
    *outputs: str,
    samples: int = 12,
    axes: Mapping[str, Axis] = {},
) -> dict[str, tuple[int | str, ...]]:
    """Shapes of what `function` makes of a sound [2, 1, samples]."""
    limits = {"batch": FREE, "samples": FREE, **axes}
    pieces = split(function, *outputs, inputs=("sound",))
    found = infer_boundaries(pieces, (SOUND,), {"sound": torch.zeros(2, 1, samples)}, limits)
    return {name.removeprefix("encoder."): spec.shape for name, spec in found.items()}


def test_axes_that_are_kept_keep_their_names() -> None:
    found = boundaries(lambda sound: (sound * 2, sound.mean(2)), "same", "mean")
    assert found["sound"] == ("batch", 1, "samples")
    assert found["same"] == ("batch", 1, "samples")
    assert found["mean"] == ("batch", 1)


@pytest.mark.parametrize("stride", [2, 5, 9])
@pytest.mark.parametrize("samples", [12, 13, 17, 18])
def test_a_strided_convolution_gives_an_axis_of_its_own(stride: int, samples: int) -> None:
    """Some strides give the same size for one sample more."""
    conv = nn.Conv1d(1, 4, 3, stride=stride)
    found = boundaries(lambda sound: conv(sound), "frames", samples=samples)
    assert found["frames"] == ("batch", 4, "encoder_frames_2")


def test_dimensions_of_one_size_are_one_axis_and_others_are_not() -> None:
    def frames(sound: torch.Tensor) -> tuple[torch.Tensor, ...]:
        kept = sound[:, 0, ::2]
        return kept, kept > 0, sound[:, 0, 1:], sound[:, 0, 1::2]

    found = boundaries(frames, "frames", "mask", "shorter", "odd")
    assert found["frames"] == found["mask"] == ("batch", "encoder_frames_1")
    assert found["shorter"] == ("batch", "encoder_shorter_1")
    assert found["odd"] == ("batch", "encoder_odd_1")


def test_a_dimension_that_happens_to_have_an_axis_size_is_fixed() -> None:
    found = boundaries(lambda sound: sound.new_zeros(2, 12), "constant")
    assert found["constant"] == (2, 12)


def test_batch_and_time_folded_together_are_their_own_axis() -> None:
    found = boundaries(lambda sound: sound.flatten(), "flat")
    assert found["flat"] == ("encoder_flat_0",)


def test_an_axis_at_its_largest_size_is_shrunk() -> None:
    axes = {"samples": Axis(6, 12, 12)}
    found = boundaries(lambda sound: sound[:, 0, ::2], "frames", axes=axes)
    assert found["frames"] == ("batch", "encoder_frames_1")


def test_an_axis_of_one_admitted_size_is_not_dynamic() -> None:
    axes = {"samples": Axis(12, 12, 12)}
    found = boundaries(lambda sound: sound * 2, "same", axes=axes)
    assert found["same"] == ("batch", 1, 12)


def test_an_axis_that_the_model_fixes_is_refused_by_name() -> None:
    linear = nn.Linear(12, 3)
    with pytest.raises(ProjectError, match="axis 'samples' is declared dynamic") as caught:
        boundaries(lambda sound: linear(sound), "features")
    assert "13" in str(caught.value)
    assert "'samples'" in str(caught.value.details["try"])


def test_a_rank_that_depends_on_a_size_is_refused() -> None:
    with pytest.raises(ProjectError, match="number of dimensions"):
        boundaries(lambda sound: sound[: len(sound) - 2].squeeze(0), "rest")


def test_two_leading_axes_are_told_apart() -> None:
    inputs = (
        ModelInput(TensorSpec("image", "float32", ("images", 3))),
        ModelInput(TensorSpec("text", "float32", ("texts", 3))),
    )
    pieces = split(lambda image, text: image @ text.T, "scores", inputs=("image", "text"))
    example = {"image": torch.zeros(2, 3), "text": torch.zeros(2, 3)}
    found = infer_boundaries(pieces, inputs, example, {"images": FREE, "texts": FREE})
    assert found["encoder.scores"].shape == ("images", "texts")
