"""The example that a graph is traced with: no size that torch.export takes for a constant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmedge.graph.example import traceable
from mmedge.project import Project, project_from_mapping
from mmedge.recipes import Split
from mmedge.tensors import Array

AXES = ("batch", "length", "images")


def project(ranges: dict[str, dict[str, int]]) -> Project:
    shapes = {"ids": ["batch", "length"], "pixels": ["batch", "images", 3]}
    inputs = {name: {"shape": shape, "dtype": "int64"} for name, shape in shapes.items()}
    table = {"name": "tiny", "inputs": inputs, "axes": ranges}
    return project_from_mapping(Path(), table)


def example(sizes: dict[str, int]) -> dict[str, torch.Tensor]:
    batch, length, images = (sizes[axis] for axis in AXES)
    return {
        "ids": torch.arange(batch * length).reshape(batch, length),
        "pixels": torch.arange(batch * images * 3).reshape(batch, images, 3),
    }


def found_sizes(found: dict[str, torch.Tensor]) -> dict[str, int]:
    (batch, length), (other, images, _) = found["ids"].shape, found["pixels"].shape
    assert batch == other
    return {"batch": batch, "length": length, "images": images}


@st.composite
def ranges(draw: st.DrawFn) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Ranges with steps, and the sizes of an example within them."""
    limits, sizes = {}, {}
    for axis in AXES:
        step = draw(st.integers(1, 3))
        low = draw(st.integers(1, 3)) * step
        high = low + draw(st.integers(1, 5)) * step
        limits[axis] = {"min": low, "opt": low, "max": high, "step": step}
        sizes[axis] = draw(st.integers(low // step, high // step)) * step
    return limits, sizes


@given(case=ranges())
def test_no_axis_is_one_long_where_more_is_allowed(
    case: tuple[dict[str, dict[str, int]], dict[str, int]],
) -> None:
    limits, sizes = case
    given_project = project(limits)
    before = example(sizes)
    found = traceable(Split((), {}, lambda inputs: {}), before, given_project)
    got = found_sizes(found)
    for axis, size in got.items():
        limit = limits[axis]
        assert size >= 2
        assert limit["min"] <= size <= limit["max"]
        assert size % limit["step"] == 0
        assert size == sizes[axis] or sizes[axis] == 1
    lengthened = [axis for axis in AXES if got[axis] != sizes[axis]]
    room = [range(2, limits[axis]["max"] + 1, limits[axis]["step"]) for axis in lengthened]
    if all(len(sizes) >= len(AXES) for sizes in room):
        for axis in lengthened:
            assert got[axis] not in [got[name] for name in AXES if name != axis]


def test_values_are_repeated() -> None:
    limits = {axis: {"min": 1, "opt": 1, "max": 9} for axis in AXES}
    found = traceable(
        Split((), {}, lambda inputs: {}), example({"batch": 1, "length": 4, "images": 1}),
        project(limits),
    )  # fmt: skip
    assert found_sizes(found) == {"batch": 2, "length": 4, "images": 3}
    assert (found["ids"] == torch.arange(4)).all()
    assert all(tensor.is_contiguous() for tensor in found.values())


def test_a_recipe_may_resize_by_itself() -> None:
    asked: list[tuple[str, int]] = []

    def resize(inputs: dict[str, Array], axis: str, size: int) -> dict[str, Array]:
        asked.append((axis, size))
        return {**inputs, "ids": np.zeros((2, size), np.int64)}

    limits = {axis: {"min": 1, "opt": 1, "max": 9} for axis in AXES}
    split = Split((), {}, lambda inputs: {}, resize=resize)  # type: ignore[arg-type]
    found = traceable(split, example({"batch": 2, "length": 1, "images": 4}), project(limits))
    assert asked == [("length", 3)]
    assert found["ids"].shape == (2, 3)
