"""The distribution of values inside a graph, over a stream of real inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmedge.errors import DataError
from mmedge.graph.exposed import exposed
from mmedge.quantize.histogram import Histogram
from mmedge.tensors import Array

# Values looked at in one session: all of them are in memory together while it runs.
VALUES_AT_ONCE = 16


def observe(
    graph: Path, names: Sequence[str], feeds: Sequence[Mapping[str, Array]]
) -> dict[str, Histogram]:
    """Name -> what it held in all of the runs.

    feeds: the graph's inputs, for each run. Raises DataError where there are none, or where a
    value is not finite: nothing can be scaled by that; GraphError where the graph does not run.
    """
    if not feeds:
        raise DataError(
            "there are no calibration inputs, and static quantization needs some",
            where=graph,
            hint="give the project calibration data, or ask for weights or dynamic activations",
        )
    found = {name: Histogram() for name in names}
    for some in _in_groups(names):
        with exposed(graph, some) as session:
            for given in feeds:
                for name, array in session.run(given).items():
                    found[name].add(array)
    _check_finite(found, graph)
    return found


def constant_inputs(feeds: Iterable[Mapping[str, Array]]) -> list[str]:
    """Inputs that hold one and the same value throughout: they calibrate nothing."""
    seen: dict[str, Histogram] = {}
    for given in feeds:
        for name, array in given.items():
            if array.dtype.kind == "f":
                seen.setdefault(name, Histogram()).add(array)
    return sorted(name for name, histogram in seen.items() if histogram.is_constant)


def _in_groups(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[i : i + VALUES_AT_ONCE] for i in range(0, len(names), VALUES_AT_ONCE))


def _check_finite(found: Mapping[str, Histogram], graph: Path) -> None:
    wrong = [f"{n} ({h.not_finite} of them)" for n, h in found.items() if h.not_finite]
    if wrong:
        raise DataError(
            "calibration met values that are NaN or infinite",
            found=", ".join(wrong[:5]),
            where=graph,
            hint="look at the calibration inputs; a mask of minus infinity is no activation",
        )
