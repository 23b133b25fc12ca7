"""Samples outside of `--shape` are left out; where none is inside, that is told."""

from __future__ import annotations

import numpy as np
import pytest

from mmedge.data.fitting_samples import fitting
from mmedge.errors import DataError
from mmedge.stage import Samples
from mmedge.tensors import TensorSpec
from mmedge.wiring import ModelInput

INPUTS = [ModelInput(TensorSpec("ids", "int64", ("batch", "length")))]


def samples(*shapes: tuple[int, int]) -> Samples:
    """Groups of (examples, length); the targets are the examples' numbers."""
    count = sum(examples for examples, _ in shapes)
    groups = tuple({"ids": np.zeros(shape, np.int64)} for shape in shapes)
    return Samples(groups, list(range(count)), count, "somewhere", True)


def test_without_shapes_all_are_taken() -> None:
    given = samples((2, 5), (3, 9))
    assert fitting(given, INPUTS, {}) is given
    assert fitting(given, INPUTS, {"length": "1:5:9"}) is given


def test_those_inside_are_taken_with_their_targets() -> None:
    found = fitting(samples((2, 5), (3, 9), (1, 6)), INPUTS, {"length": "1:5:6"})
    assert [group["ids"].shape for group in found.groups] == [(2, 5), (1, 6)]
    assert (found.targets, found.count) == ([0, 1, 5], 3)
    assert found.origin == "somewhere, 3 of 6 within --shape"


def test_any_profile_will_do() -> None:
    found = fitting(samples((1, 5), (1, 7), (1, 9)), INPUTS, {"length": "5,8:9:9"})
    assert [group["ids"].shape[1] for group in found.groups] == [5, 9]


def test_how_many_examples_there_are_is_no_matter() -> None:
    given = samples((7, 5))
    assert fitting(given, INPUTS, {"batch": "1:2:4"}) is given


def test_where_none_is_left_it_is_told() -> None:
    with pytest.raises(DataError, match="no sample has the sizes") as caught:
        fitting(samples((2, 50), (1, 90)), INPUTS, {"length": "1:5:6"})
    text = str(caught.value)
    assert "length 50; length 90" in text
    assert "length 1:5:6" in text
    assert "widen --shape" in text
