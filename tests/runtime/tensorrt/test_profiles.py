from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mmedge.errors import InputError
from mmedge.runtime.tensorrt.profiles import Profile, Sizes, choose


def profile(low: int, best: int, high: int) -> Profile:
    return Profile({"x": Sizes((low, 3), (best, 3), (high, 3))})


def test_the_nearest_of_those_that_fit_is_taken() -> None:
    profiles = [profile(1, 64, 64), profile(1, 1, 8), profile(2, 8, 16)]
    assert [choose(profiles, {"x": (n, 3)}, component="c") for n in (1, 2, 6, 16, 40)] == [
        1, 1, 2, 2, 0,
    ]  # fmt: skip


def test_a_past_of_no_length_is_a_size_like_others() -> None:
    profiles = [profile(0, 0, 0), profile(1, 8, 16)]
    assert choose(profiles, {"x": (0, 3)}, component="c") == 0
    assert choose(profiles, {"x": (1, 3)}, component="c") == 1


@given(st.lists(st.tuples(*[st.integers(0, 20)] * 3).map(sorted), min_size=1), st.integers(0, 25))
def test_what_is_chosen_fits_and_what_fits_is_chosen(ends: list[list[int]], size: int) -> None:
    profiles = [profile(*triple) for triple in ends]
    shapes = {"x": (size, 3)}
    fits = [low <= size <= high for low, _, high in ends]
    if any(fits):
        assert fits[choose(profiles, shapes, component="c")]
        return
    with pytest.raises(InputError) as caught:
        choose(profiles, shapes, component="c")
    assert len(str(caught.value.details["expected"]).splitlines()) == len(profiles)


@given(st.integers(1, 9), st.integers(1, 9))
def test_another_rank_never_fits(low: int, high: int) -> None:
    assume(low <= high)
    assert not Sizes((low, low), (low, low), (high, high)).take((low,))
