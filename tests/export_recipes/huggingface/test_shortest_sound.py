"""How short a sound may be, by what the model's own convolutions leave of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zoo
from hypothesis import given
from hypothesis import strategies as st
from mmedge_export.huggingface.shortest_sound import shortest_sound, smallest

from mmedge.proposing import propose
from mmedge.recipes import CheckpointView

Checkpoint = Callable[[str], Path]


@given(answer=st.integers(1, 10_000), low=st.integers(1, 10_000))
def test_the_smallest_is_found(answer: int, low: int) -> None:
    high = 10_000
    assert smallest(lambda n: n >= answer, between=(low, high)) == max(answer, low)


def test_nothing_being_enough_leaves_the_largest() -> None:
    assert smallest(lambda n: False, between=(3, 7)) == 7


@pytest.mark.parametrize("name", ["moonshine", "wav2vec2_ctc", "hubert_ctc"])
def test_the_model_finds_two_features_in_it(checkpoint: Checkpoint, name: str) -> None:
    model = zoo.load(checkpoint(name))
    view = CheckpointView(checkpoint(name), model.config, type(model), {}, {})
    shortest = shortest_sound(view, between=(1, 100_000))
    encoder = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    with torch.no_grad():
        counts = [
            encoder(torch.randn(1, samples)).last_hidden_state.shape[1]
            for samples in (shortest, shortest - 1)
        ]
    assert counts == [2, 1]


def test_the_axis_begins_there(checkpoint: Checkpoint) -> None:
    samples = propose(checkpoint("moonshine")).project.file.axes["samples"]
    model = zoo.load(checkpoint("moonshine"))
    view = CheckpointView(checkpoint("moonshine"), model.config, type(model), {}, {})
    assert samples.min == shortest_sound(view, between=(1, 100_000)) > 1000


def test_a_model_that_does_not_say_has_the_lower_bound(checkpoint: Checkpoint) -> None:
    model = zoo.load(checkpoint("clip"))
    view = CheckpointView(checkpoint("clip"), model.config, type(model), {}, {})
    assert shortest_sound(view, between=(800, 900)) == 800
