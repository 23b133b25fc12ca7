"""How the tests share a machine: a process for each core, busy to the end.

`make unit` starts the processes; a single one (`pytest -n0`) keeps every core and the usual order.
"""

from __future__ import annotations

import gc
import os
from typing import TypeVar

import pytest

T = TypeVar("T")


def pytest_configure(config: pytest.Config) -> None:
    """Each of several processes has a core of its own: whatever asks how many there are, says one.

    Two that each start a thread for every core wait for one another most of the time.
    """
    if hasattr(config, "workerinput") and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        number = int(config.workerinput["workerid"].removeprefix("gw"))
        os.sched_setaffinity(0, {cores[number % len(cores)]})


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several processes each begins with long tests, so that no long one is the last of all."""
    share = getattr(config, "workerinput", {}).get("workercount", 1)
    if share > 1:
        slow = [item for item in items if item.get_closest_marker("slow")]
        fast = [item for item in items if not item.get_closest_marker("slow")]
        items[:] = dealt(slow, fast, processes=share)


def dealt(slow: list[T], fast: list[T], *, processes: int) -> list[T]:
    """In the shares that `--dist worksteal` gives out: neighbours, as many for each process."""
    made: list[T] = []
    total, slow, fast = len(slow) + len(fast), list(slow), list(fast)
    for left in range(processes, 0, -1):
        size, long = (total - len(made)) // left, len(slow) // left
        made += slow[:long] + fast[: size - long]
        del slow[:long], fast[: size - long]
    return made


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A compile collects garbage many times; what libraries have made by now is not looked at."""
    if item.get_closest_marker("slow"):
        gc.collect()
        gc.freeze()
