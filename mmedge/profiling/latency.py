"""Latency of several callables, measured against each other in alternating blocks.

Why blocks, and why a pause before each. Engines keep their worker threads spinning for a while
after a call, to answer the next one faster: by process CPU time on two x86 cores, PyTorch's OpenMP
workers (2.13) burn about 10 ms and ONNX Runtime's (1.31) 30 to 50 ms after their last call. Called
back to back, whichever engine comes second shares its cores with the other's spinning and pays for
it, whatever the order. So each candidate runs a block of calls per round; before it, the process
waits until it uses no CPU (at most 200 ms), and the block's first calls, which wake the
candidate's own workers and refill the caches, are not timed. What is measured is each candidate
as it runs alone and warm, under the same machine conditions.

Every round runs every candidate, in a new seeded order, so that slow changes of the machine fall
on all alike and `paired_ratio` can cancel them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedge.profiling.statistics import (
    MIN_ROUNDS,
    LatencySummary,
    Ratio,
    paired_ratio,
    summarise,
)

Call = Callable[[], object]

WINDOW_CALLS = 5
WINDOW_MS = 20.0  # a window of microsecond calls must outlast the clock's ramp
STABLE_WITHIN = 0.05
BLOCK_MS = 50.0
BLOCK_CALLS = 20
SETTLE_MS = 5.0
QUIET_STEP_MS = 5.0
QUIET_SHARE = 0.1  # of one core, within a step
QUIET_LIMIT_MS = 200.0


@dataclass(frozen=True)
class Warmup:
    """How a candidate was warmed up.

    stable: the median of the last window was within 5% of the one before; otherwise the time
        limit ended the warm-up.
    median_ms: of the last window, in milliseconds.
    """

    stable: bool
    calls: int
    seconds: float
    median_ms: float


@dataclass(frozen=True)
class Measurement:
    """Interleaved latencies of one or more candidates; every mapping has their names as keys.

    samples_ms: `[rounds, calls]` float64 in the order of time; `calls` differs by candidate.
    ratios: median over the first candidate's median, for every candidate but the first.
    cpu_ms_per_call: CPU time of this process, all threads together, in a timed call.
    """

    samples_ms: dict[str, NDArray[np.float64]]
    summaries: dict[str, LatencySummary]
    ratios: dict[str, Ratio]
    warmups: dict[str, Warmup]
    cpu_ms_per_call: dict[str, float]
    rounds: int
    wall_seconds: float

    @property
    def warmed_up(self) -> bool:
        """Whether every candidate was stable before it was timed."""
        return all(warmup.stable for warmup in self.warmups.values())


@dataclass(frozen=True)
class _Block:
    samples_ms: list[float]
    cpu_ms: float


def measure_interleaved(
    candidates: Mapping[str, Call],
    *,
    seconds: float,
    min_rounds: int = MIN_ROUNDS,
    warmup_seconds: float = 2.0,
    seed: int = 0,
) -> Measurement:
    """Time every candidate in alternating blocks for about `seconds`.

    candidates: name -> a call without arguments; the first is the baseline of the ratios.
    seconds: rounds start until this much time has passed, and at least `min_rounds` are run
        (never fewer than 6, below which there is no interval), however long they take.
    warmup_seconds: the most that one candidate is warmed up; one call always is.

    Garbage collection is off while timing, young objects are collected between blocks, and the
    previous setting is restored whatever happens. What a candidate raises passes through. Raises
    ValueError without candidates and for a negative time.
    """
    if not candidates:
        raise ValueError("there are no candidates to measure")
    if seconds < 0 or warmup_seconds < 0:
        raise ValueError(f"times are at least 0: {seconds=}, {warmup_seconds=}")
    started = time.perf_counter()
    with _no_garbage_collection():
        warmups = {name: _warm_up(call, warmup_seconds) for name, call in candidates.items()}
        calls = {name: _calls_per_block(warmup) for name, warmup in warmups.items()}
        blocks: dict[str, list[_Block]] = {name: [] for name in candidates}
        for name in _schedule(list(candidates), seconds, max(min_rounds, MIN_ROUNDS), seed):
            blocks[name].append(_block(candidates[name], calls[name]))
    return _measurement(blocks, warmups, time.perf_counter() - started)


def _measurement(
    blocks: dict[str, list[_Block]], warmups: dict[str, Warmup], wall_seconds: float
) -> Measurement:
    samples = {name: np.array([b.samples_ms for b in done]) for name, done in blocks.items()}
    baseline, *others = samples
    return Measurement(
        samples_ms=samples,
        summaries={name: summarise(values) for name, values in samples.items()},
        ratios={name: paired_ratio(samples[baseline], samples[name]) for name in others},
        warmups=warmups,
        cpu_ms_per_call={
            name: sum(b.cpu_ms for b in done) / samples[name].size for name, done in blocks.items()
        },
        rounds=len(samples[baseline]),
        wall_seconds=wall_seconds,
    )


def _schedule(names: list[str], seconds: float, min_rounds: int, seed: int) -> Iterator[str]:
    """The names, each once per round in a shuffled order, until time and rounds are enough."""
    generator = np.random.default_rng(seed)
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < min_rounds or time.perf_counter() < end:
        yield from (names[index] for index in generator.permutation(len(names)))
        rounds += 1


def _warm_up(call: Call, limit_seconds: float) -> Warmup:
    """Call until two windows in a row have nearly the same median, or the time is up."""
    start = time.perf_counter()
    end = start + limit_seconds
    calls, previous, median, stable = 0, float("inf"), float("inf"), False
    while not stable and (calls == 0 or time.perf_counter() < end):
        window = _window(call, end)
        calls += len(window)
        previous, median = median, float(np.median(window))
        complete = len(window) >= WINDOW_CALLS and sum(window) >= WINDOW_MS
        stable = complete and abs(median - previous) <= STABLE_WITHIN * previous < float("inf")
    return Warmup(stable, calls, time.perf_counter() - start, median)


def _window(call: Call, end: float) -> list[float]:
    """Latencies of at least one call; a whole window unless `end` comes first."""
    window = [_timed(call)]
    while len(window) < WINDOW_CALLS or sum(window) < WINDOW_MS:
        if time.perf_counter() >= end:
            break
        window.append(_timed(call))
    return window


def _calls_per_block(warmup: Warmup) -> int:
    return int(np.clip(BLOCK_MS / warmup.median_ms, 1, BLOCK_CALLS))


def _block(call: Call, calls: int) -> _Block:
    gc.collect(0)
    _wait_until_quiet()
    _settle(call)
    cpu_before = time.process_time_ns()
    samples = [_timed(call) for _ in range(calls)]
    return _Block(samples, (time.process_time_ns() - cpu_before) / 1e6)


def _settle(call: Call) -> None:
    """Untimed calls: at least one, and at least 5 ms of them."""
    end = time.perf_counter() + SETTLE_MS / 1e3
    call()
    while time.perf_counter() < end:
        call()


def _wait_until_quiet() -> None:
    """Sleep until this process uses no CPU: the last engine's workers have stopped spinning."""
    end = time.perf_counter() + QUIET_LIMIT_MS / 1e3
    while time.perf_counter() < end:
        wall, cpu = time.perf_counter(), time.process_time()
        time.sleep(QUIET_STEP_MS / 1e3)
        if time.process_time() - cpu < QUIET_SHARE * (time.perf_counter() - wall):
            return


def _timed(call: Call) -> float:
    """One call, in milliseconds; what it returns is freed outside the timing."""
    start = time.perf_counter_ns()
    result: Any = call()
    elapsed = time.perf_counter_ns() - start
    del result
    return elapsed / 1e6


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
