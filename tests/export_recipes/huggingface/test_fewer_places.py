"""A picture that is made smaller, and the text that was written for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from mmedge_export.huggingface.fewer_places import fewer_places
from mmedge_export.huggingface.longer_text import longer_text
from mmedge_export.huggingface.prompt_parts import encoder_of

from mmedge.data.processed import samples_of_processor
from mmedge.proposing import propose
from mmedge.tensors import Array


@pytest.fixture
def resized(checkpoint: Callable[[str], Path]) -> Callable[..., tuple[Any, ...]]:
    """A specimen's text before and after an axis is resized, and the token of an image's places."""

    def run(name: str, axis: str, size: int) -> tuple[Array, Array, int, int]:
        model: Any = zoo.load(checkpoint(name))
        project = propose(checkpoint(name)).project
        arrays = samples_of_processor(project).first(2)
        example = {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}
        flat = frozenset(project.file.recipe["flat"])
        encoder = encoder_of(model, "vision_encoder", "get_image_features", example, flat)
        resize = fewer_places(longer_text(project), [encoder], model)
        made = resize(arrays, axis, size)
        given = [torch.from_numpy(made[key]) for key in encoder.arguments]
        count = encoder.module(*given).shape[1]
        return arrays["input_ids"], made["input_ids"], model.config.image_token_id, count

    return run


@pytest.mark.parametrize("name", ["pixtral", "mistral3"])
def test_no_place_without_a_feature(name: str, resized: Any) -> None:
    before, after, token, count = resized(name, "width", 48)
    assert ((after == token).sum(1) <= count).all()
    assert ((before == token).sum(1) > count).any(), "or nothing would have been to do"
    kept = after == token
    np.testing.assert_array_equal(after[kept], before[kept])
    np.testing.assert_array_equal(after[before != token], before[before != token])


@pytest.mark.parametrize(("axis", "size"), [("width", 64), ("images", 3), ("batch", 3)])
def test_where_there_are_enough_the_text_stays(axis: str, size: int, resized: Any) -> None:
    before, after, _, _ = resized("pixtral", axis, size)
    np.testing.assert_array_equal(after[: len(before)], before)
