from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sharing_cores import dealt

COUNTS = st.integers(0, 40)


@given(slow=COUNTS, fast=COUNTS, processes=st.integers(1, 5))
def test_every_process_begins_with_its_share_of_long_tests(
    slow: int, fast: int, processes: int
) -> None:
    tests = dealt([f"slow{n}" for n in range(slow)], list(range(fast)), processes=processes)
    assert len(set(tests)) == len(tests) == slow + fast
    found = []
    for left in range(processes, 0, -1):  # as xdist gives them out
        size = len(tests) // left
        share, tests = tests[:size], tests[size:]
        long = [isinstance(test, str) for test in share]
        assert long == sorted(long, reverse=True), "long ones first"
        found.append(sum(long))
    assert sum(found) == slow
    assert max(found) - min(found) <= 1


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process has every core")
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux only")
def test_a_process_of_several_has_one_core() -> None:
    assert len(os.sched_getaffinity(0)) == 1
