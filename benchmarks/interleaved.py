"""Several callables timed in alternating rounds: CUDA graphs between events, or a wall clock.

On a GPU a contender is captured as one graph that runs it once for each of several sets of
inputs, together larger than twice the L2 cache: each call finds its inputs in memory, as it does
in a model, and launches cost nothing. Every round replays every contender once, in a new order.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import torch

Call = Callable[[], object]
Timed = Callable[[], float]  # one round; milliseconds a call
WARM_UP = 3


def timers(contenders: Mapping[str, Sequence[Call]], device: torch.device) -> dict[str, Timed]:
    """Contender -> what times one round of it; each is a call for each set of inputs."""
    make = graph_timer if device.type == "cuda" else wall_timer
    return {name: make(calls) for name, calls in contenders.items()}


def graph_timer(calls: Sequence[Call]) -> Timed:
    """The calls as one CUDA graph, timed by events around its replay."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # capture needs a stream that has already seen the calls
        for call in calls:
            for _ in range(WARM_UP):
                call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()

    def timed() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / len(calls)

    return timed


def wall_timer(calls: Sequence[Call]) -> Timed:
    """The calls one after the other, by the wall clock."""

    def timed() -> float:
        start = time.perf_counter()
        for call in calls:
            call()
        return (time.perf_counter() - start) * 1e3 / len(calls)

    return timed


def rounds(timed: Mapping[str, Timed], *, count: int, seed: int = 0) -> dict[str, list[float]]:
    """Milliseconds a call, by contender and round; a first round is thrown away."""
    order, shuffle = list(timed), random.Random(seed)
    samples: dict[str, list[float]] = {name: [] for name in order}
    for number in range(count + 1):
        shuffle.shuffle(order)
        for name in order:
            ms = timed[name]()
            if number:
                samples[name].append(ms)
    return samples


def median_ms(call: Call, device: torch.device, *, count: int = 20) -> float:
    """The median of `count` single calls, in milliseconds."""
    timer = (graph_timer if device.type == "cuda" else wall_timer)([call])
    timer()
    return statistics.median(timer() for _ in range(count))


def copies_beyond_cache(bytes_of_one: int, device: torch.device, *, most: int = 64) -> int:
    """How many sets of inputs are together larger than twice the device's L2 cache."""
    cache = 0
    if device.type == "cuda":
        with suppress(AttributeError):
            cache = torch.cuda.get_device_properties(device).L2_cache_size
    return max(1, min(most, -(-2 * cache // bytes_of_one)))
