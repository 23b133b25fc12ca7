"""`--shape` says which sizes engines are built for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.axis_shapes import ANY, BUNDLE, narrowed, profile_count, ranges_of, read_shapes
from mmedge.engine_plan import Range
from mmedge.errors import ProjectError
from mmedge.tensors import Axis

AXES = {"batch": Axis(1, 2, 64), "length": Axis(4, 16, 128, step=4)}
sizes = st.integers(1, 2**20)


@given(st.lists(st.tuples(sizes, sizes, sizes), min_size=1, max_size=4))
def test_ranges_are_read_as_they_are_written(triples: list[tuple[int, int, int]]) -> None:
    ranges = tuple(Range(*sorted(triple)) for triple in triples)
    assert ranges_of("batch", ",".join(map(str, ranges))) == ranges


def test_one_size_is_a_range_of_itself() -> None:
    assert ranges_of("batch", "4") == (Range(4, 4, 4),)


@pytest.mark.parametrize("text", ["", "1:2", "a", "1:2:3:4", "-1", "1:2:3,", "1.5", "²", "4:1:2"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ProjectError, match="axis 'batch'") as caught:
        ranges_of("batch", text)
    assert "min:opt:max" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("0", "below 1"),
        ("0:1:2", "below 1"),
        ("1:0:2", "below 1"),
        ("3:2:4", "not ordered"),
        ("1:5:4", "not ordered"),
    ],
)
def test_sizes_are_ordered_and_possible(text: str, what: str) -> None:
    with pytest.raises(ProjectError, match=what) as caught:
        ranges_of("batch", text)
    assert caught.value.details["found"] == text


@pytest.mark.parametrize(("axis", "most"), [("batch", AXES["batch"].max), ("inner", ANY.max)])
def test_a_size_that_is_mistyped_is_told_by_the_largest_there_is(axis: str, most: int) -> None:
    with pytest.raises(ProjectError, match=f"some are above {most}") as caught:
        narrowed(AXES, read_shapes({axis: "1:4:100000000000"}), inner=["inner"])
    assert str(caught.value.details["expected"]).startswith(f"within 1 to {most}")
    assert ("[axes]" in str(caught.value)) == (axis == "batch")


def test_of_a_bundle_the_sizes_are_those_of_its_compile() -> None:
    with pytest.raises(ProjectError, match="some are above 64") as caught:
        narrowed(AXES, read_shapes({"batch": "1:4:65"}), limits=BUNDLE)
    assert caught.value.details["expected"] == "within 1 to 64, as the bundle was compiled"
    assert "wider --shape" in str(caught.value.details["try"])


def test_several_ranges_are_several_profiles() -> None:
    shapes = read_shapes({"batch": "1,2:4:8", "length": "16"})
    assert profile_count(shapes) == 2


def test_profiles_that_do_not_match_are_refused() -> None:
    with pytest.raises(ProjectError, match="conflicting") as caught:
        read_shapes({"batch": "1,2,3", "length": "4,8"})
    assert "batch: 3 ranges, length: 2 ranges" in str(caught.value)


def test_axes_are_narrowed_to_all_that_is_asked_for() -> None:
    found = narrowed(AXES, read_shapes({"batch": "1,4:8:16"}))
    assert found == {"batch": Axis(1, 1, 16), "length": AXES["length"]}


def test_an_unknown_axis_names_the_nearest() -> None:
    with pytest.raises(ProjectError, match="no axis 'bacth'") as caught:
        narrowed(AXES, read_shapes({"bacth": "1"}))
    assert "'batch'" in str(caught.value)


def test_an_axis_inside_the_model_may_be_shaped() -> None:
    assert narrowed(AXES, read_shapes({"features": "1:8:64"}), inner=["features"]) == AXES


@pytest.mark.parametrize(
    ("axis", "text", "expected"),
    [("batch", "1:4:65", "1 to 64"), ("length", "1:4:8", "4 to 128"), ("length", "6", "multiples")],
)
def test_the_model_must_take_the_sizes(axis: str, text: str, expected: str) -> None:
    with pytest.raises(ProjectError, match="cannot have these sizes") as caught:
        narrowed(AXES, read_shapes({axis: text}))
    assert expected in str(caught.value)
