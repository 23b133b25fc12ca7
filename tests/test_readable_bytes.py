"""Bytes in messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.readable_bytes import LARGEST_UNIT, UNITS, readable_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1000, "1 kB"),
        (28_700, "28.7 kB"),
        (999_600, "1 MB"),
        (12_884_901_888, "12.9 GB"),
        (1.88e15, "1,880 TB"),
    ],
)
def test_three_digits_and_a_unit(count: float, text: str) -> None:
    assert readable_bytes(count) == text


@given(st.integers(0, 10**18))
def test_what_is_written_is_the_number(count: int) -> None:
    digits, _, unit = readable_bytes(count).partition(" ")
    factor = 1000 ** ("B", *UNITS, LARGEST_UNIT).index(unit)
    assert float(digits.replace(",", "")) * factor == pytest.approx(count, rel=0.005, abs=0.5)
