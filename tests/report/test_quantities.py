from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.report import quantities as q

positive = st.floats(min_value=1e-9, max_value=1e12)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0985, "0.0985"), (5.2594, "5.26"), (2067.98, "2,070"), (9.996, "10.0"), (0, "0")],
)
def test_significant_digits_without_an_exponent(value: float, text: str) -> None:
    assert q.significant(value) == text


@given(positive, st.integers(1, 5))
def test_significant_is_within_half_a_unit_of_the_last_digit(value: float, digits: int) -> None:
    found = float(q.significant(value, digits).replace(",", ""))
    assert math.isclose(found, value, rel_tol=0.5 * 10 ** (1 - digits) * 1.000001)


@given(positive)
def test_a_larger_size_never_reads_smaller(value: float) -> None:
    units = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}

    def read(text: str) -> float:
        number, unit = text.split()
        return float(number.replace(",", "")) * units[unit]

    assert read(q.size(value)) <= read(q.size(value * 1.02)) * (1 + 1e-9)


def test_scientific_is_a_power_of_ten() -> None:
    assert q.scientific(2.735e-7) == "2.7×10⁻⁷"
    assert q.scientific(1e-4) == "1×10⁻⁴"
    assert q.scientific(0.0) == "0"


def test_durations_have_a_unit_that_fits() -> None:
    found = [q.seconds(value) for value in (0.0002, 0.0203, 5.461, 738.0)]
    assert found == ["less than 1 ms", "20 ms", "5.46 s", "12.3 min"]


def test_cosine_near_one_says_how_near() -> None:
    assert q.cosine(1.0) == "1"
    assert q.cosine(0.98765432) == "0.98765"
    assert q.cosine(1 - 2**-40).startswith("1 − 9.1×10⁻")


def test_what_nobody_measured_is_not_a_number() -> None:
    functions = (
        q.significant, q.scientific, q.milliseconds, q.seconds, q.size, q.count, q.times,
        q.percent, q.interval, q.cosine, q.decibels,
    )  # fmt: skip
    assert {function(None) for function in functions} == {q.NOT_AVAILABLE}


@pytest.mark.parametrize("which", [90, 95, 99])
def test_a_percentile_needs_a_call_beyond_it(which: int) -> None:
    enough = 100 // (100 - which)
    summary = {f"p{which}_ms": 3.0}
    assert q.percentile({**summary, "count": enough - 1}, which) == q.TOO_FEW
    assert q.percentile({**summary, "count": enough}, which) == "3.00 ms"
