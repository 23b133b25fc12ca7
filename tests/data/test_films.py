"""Films of photographs: as many frames as the model takes, each another view."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmedge.data.films import film_over, frames_of
from mmedge.data.upstream import upstream_tensors

Checkpoint = Callable[[str], Path]


@given(width=st.integers(1, 80), height=st.integers(1, 40), frames=st.integers(1, 9))
def test_frames_are_of_one_size_and_within_the_photograph(
    width: int, height: int, frames: int
) -> None:
    columns = np.broadcast_to(np.arange(width, dtype=np.uint8) + 1, (height, width))
    film = film_over(Image.fromarray(columns), frames)
    assert len(film) == frames
    assert len({frame.size for frame in film}) == 1
    left = [int(np.asarray(frame)[0, 0]) for frame in film]
    assert left == sorted(left)
    assert all(np.asarray(frame).min() > 0 for frame in film), "nothing from outside of it"


@pytest.mark.parametrize(
    ("config", "frames"),
    [
        ({"vision_config": {"num_frames": 8}}, 8),
        ({"num_frames": 16}, 16),
        ({"vision_config": {"image_size": 32}}, None),
        ({"vision_config": None, "num_frames": "many"}, None),
        ({"num_frames": 0}, None),
        ({}, None),
    ],
)
def test_the_config_says_how_many(config: Mapping[str, Any], frames: int | None) -> None:
    assert frames_of(config) == frames


def test_a_model_of_films_is_given_some(checkpoint: Checkpoint) -> None:
    config = json.loads((checkpoint("xclip") / "config.json").read_text())
    made = upstream_tensors(checkpoint("xclip"))
    assert made["pixel_values"].shape[:2] == (2, config["vision_config"]["num_frames"])
    assert len(made["input_ids"]) == 2
    first, *_, last = made["pixel_values"][0]
    assert np.abs(first - last).max() > 0.1
