"""Two graphs of one component on the same inputs: how far apart, and which is faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmedge.profiling.latency import measure_interleaved
from mmedge.profiling.statistics import Ratio
from mmedge.runtime.runner import open_engine
from mmedge.tensors import Array
from mmedge.verify.metrics import Difference, DifferencesByOutput

KIND = "onnxruntime"
Feeds = Sequence[Mapping[str, Array]]


def outputs_of(graph: Path, feeds: Feeds, *, threads: int | None) -> list[dict[str, Array]]:
    """What the graph gives for each of the inputs."""
    with open_engine(KIND, graph, threads=threads) as runner:
        return [dict(runner.infer(dict(given))) for given in feeds]


def moved(
    graph: Path, exact: Sequence[Mapping[str, Array]], feeds: Feeds, *, threads: int | None
) -> dict[str, Difference]:
    """Output -> how far `graph` is from the exact outputs."""
    found = DifferencesByOutput()
    with open_engine(KIND, graph, threads=threads) as runner:
        for given, wanted in zip(feeds, exact, strict=True):
            for name, array in runner.infer(dict(given)).items():
                found.add(name, wanted[name], array)
    return found.result()


def faster(
    before: Path, after: Path, feeds: Feeds, *, threads: int | None, seconds: float
) -> Ratio:
    """`after`'s median latency over `before`'s, interleaved in one run; below 1 it is faster.

    Each call runs all inputs, so that prompts and single tokens weigh as they do in use.
    """
    with (
        open_engine(KIND, before, threads=threads) as old,
        open_engine(KIND, after, threads=threads) as new,
    ):

        def run_old() -> None:
            for given in feeds:
                old.infer(dict(given))

        def run_new() -> None:
            for given in feeds:
                new.infer(dict(given))

        timed = measure_interleaved({"before": run_old, "after": run_new}, seconds=seconds)
    return timed.ratios["after"]
