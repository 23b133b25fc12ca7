"""The emulation itself can fail: each mistake that it watches for is refused, in any schedule."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from emulator import FLAGS, SOURCES, once, run_compiler

Run = Callable[[str, int], str | None]
SEEDS = range(8)
# The greatest number of fp16 is 65504, the next would be 65536: what is half way is an infinity.
PAST_FP16 = np.array([65519.99, 65520, 65536, -65519.99, -65520], np.float32)

MISTAKES = {
    "no_barrier": "race: thread [0-9]+ reads shared byte [0-9]+ that thread [0-9]+ wrote"
    "|before thread [0-9]+ waited|nobody wrote",
    "no_wait": "before thread [0-9]+ waited for its copy",
    "overwritten_while_read": "race: thread [0-9]+ (overwrites|reads) shared byte|before thread",
    "written_by_two": "race: threads [0-9]+ and [0-9]+ write|before thread",
    "never_written": "nobody wrote",
    "past_the_shared_memory": "outside of the 1024 bytes of shared memory",
    "misaligned_in_shared_memory": "not aligned to 16",
    "past_the_input": "reads 16 bytes outside of every buffer",
    "misaligned_input": "address that is not a multiple",
    "written_twice": "writes output at byte [0-9]+ twice",
    "written_to_the_input": "writes to input",
    "read_after_written": "reads output at byte [0-9]+, which this launch wrote",
    "divergent_warp": "divergent warp: one thread is at (mma|shuffle), another",
    "half_a_warp": "deadlock: 16 of 32 threads of warp [01] came to shuffle",
    "barrier_for_some": "deadlock: 32 of 64 threads came to the barrier",
    "copies_left_behind": "copies are under way when the thread ends",
}


@pytest.fixture(scope="module", params=["assembly", "ucontext"])
def planted(request: pytest.FixtureRequest, shared_directory: Path) -> ctypes.CDLL:
    """With both ways to switch stacks: other machines than x86-64 have the second one only."""
    ways = {"assembly": (), "ucontext": ("-DMMEDGE_PORTABLE_FIBERS",)}
    options = ("-O0", f"-I{SOURCES}", "-x", "c++", *ways[request.param])
    source = str(Path(__file__).with_name("planted.cpp"))
    library = once(
        shared_directory / f"planted-{request.param}.so",
        lambda made: run_compiler(*FLAGS, *options, "-shared", source, "-o", str(made)),
    )
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="module")
def run(planted: ctypes.CDLL) -> Run:
    planted.run_planted.restype = ctypes.c_char_p

    def run_kernel(name: str, seed: int) -> str | None:
        said = planted.run_planted(name.encode(), ctypes.c_uint32(seed))
        return said.decode() if said else None

    return run_kernel


def test_a_right_kernel_is_let_through(run: Run) -> None:
    assert [run("right", seed) for seed in SEEDS] == [None] * len(SEEDS)


@pytest.mark.parametrize("kernel", MISTAKES)
def test_a_mistake_is_refused_in_every_schedule(run: Run, kernel: str) -> None:
    for seed in SEEDS:
        said = run(kernel, seed)
        assert said is not None, f"seed {seed}"
        assert re.search(MISTAKES[kernel], said), said
        assert "(block 0, thread " in said


def test_a_right_kernel_still_runs_after_a_refused_one(run: Run) -> None:
    assert run("half_a_warp", 1) is not None
    assert run("right", 1) is None


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_numbers_are_rounded_as_numpy_rounds_them(planted: ctypes.CDLL, dtype: Any) -> None:
    """Every number of the format, every tie between two of them, and what is beside a tie."""
    exact = np.arange(2**16, dtype=np.uint16).view(dtype).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        ties = (exact[:-1].astype(np.float64) + exact[1:]).astype(np.float32) / 2
        beside = (np.nextafter(ties, np.float32(way)) for way in (-np.inf, np.inf))
        values = np.concatenate([exact, ties, *beside, PAST_FP16])
        expected = values.astype(dtype)
    rounded, widened = np.empty(values.size, np.uint16), np.empty(values.size, np.float32)
    planted.round_numbers(
        values.ctypes.data_as(ctypes.c_void_p),
        values.size,
        int(dtype is ml_dtypes.bfloat16),
        rounded.ctypes.data_as(ctypes.c_void_p),
        widened.ctypes.data_as(ctypes.c_void_p),
    )
    known = ~np.isnan(values)
    np.testing.assert_array_equal(rounded[known], expected.view(np.uint16)[known])
    np.testing.assert_array_equal(widened, expected.astype(np.float32))
