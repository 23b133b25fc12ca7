"""One component in integers: as much of it as stays right, and only if it is faster for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mmedge.graph.files import load_graph, save_graph
from mmedge.profiling.statistics import Ratio
from mmedge.quantize.account import KEPT, Treated
from mmedge.quantize.graph import LEFT_OUT, name_nodes, quantize_graph
from mmedge.search.comparison import Feeds, faster, moved, outputs_of
from mmedge.search.subset import largest_prefix
from mmedge.targets import QuantizationSettings
from mmedge.tensors import Array
from mmedge.verify.metrics import Difference

# Of every float output on the calibration inputs, against the graph in float32. Peers' quantized
# graphs of transformers are good to 0.999 where their tasks do not suffer.
LEAST_COSINE = 0.999
MEASURE_SECONDS, LONGER_SECONDS = 1.0, 4.0  # the second where the first does not decide
TOO_FAR, SLOWER, NOTHING = "moved too far", "not measurably faster", "nothing to quantize"

Progress = Callable[[str], None]


class Attempt(msgspec.Struct, frozen=True):
    """A set of operators that was tried, and how far the outputs moved."""

    operators: int
    least_cosine: float


@dataclass
class Component:
    """What became of one component.

    graph: the file that is used from now on, quantized or as it was.
    refused: why nothing of it is quantized; None where something is.
    ratio: the quantized graph's latency over the float graph's; None where it was not measured.
    """

    graph: Path
    treated: list[Treated]
    refused: str | None = None
    moved: dict[str, Difference] = field(default_factory=dict)
    ratio: Ratio | None = None
    tried: list[Attempt] = field(default_factory=list)
    bytes_before: int = 0
    bytes_after: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        plain: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str)
        return {key: value for key, value in plain.items() if key != "graph"}


@dataclass
class ComponentSearch:
    """Quantizes one component's graph.

    graph: in float32. feeds: its inputs, of several calls on real samples.
    measured: whether the machine that this runs on is one that the target's engines run on, so
        that a latency says something.
    """

    name: str
    graph: Path
    feeds: Feeds
    settings: QuantizationSettings
    directory: Path
    threads: int | None
    measured: bool
    progress: Progress
    tried: list[Attempt] = field(default_factory=list)

    def run(self) -> Component:
        """The component as it is best. Raises DataError where it cannot be calibrated."""
        everything = self._quantized(None)
        names = [t.node for t in everything if t.treatment != KEPT]
        if not names:
            reasons = dict.fromkeys(f"{t.operator}: {t.why}" for t in everything)
            return self._as_it_was(everything, ": ".join([NOTHING, *list(reasons)[:1]]))
        exact = outputs_of(self.graph, self.feeds, threads=self.threads)
        self.progress(f"quantizing {self.name}: {len(names)} operators")
        chosen: Sequence[str] = names
        if not self._close(names, exact):
            chosen = largest_prefix(
                self._by_sensitivity(names, exact), lambda s: self._close(s, exact)
            )
        treated = self._quantized(chosen)
        if not chosen:
            return self._as_it_was(treated, f"{TOO_FAR}: {self._said()}")
        distance = moved(self._file, exact, self.feeds, threads=self.threads)
        ratio = self._ratio()
        if ratio is not None and ratio.high >= 1:
            span = f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
            why = f"{SLOWER}: {span} of the float graph's latency"
            return self._as_it_was(treated, why, ratio=ratio)
        treated = [_reworded(t) for t in treated]
        sizes = [_size(path) for path in (self.graph, self._file)]
        return Component(self._file, treated, None, distance, ratio, self.tried, *sizes)

    @property
    def _file(self) -> Path:
        return self.directory / self.graph.name

    def _quantized(self, only: Sequence[str] | None) -> list[Treated]:
        model = load_graph(self.graph)
        name_nodes(model)
        treated = quantize_graph(model, self.settings, file=self.graph, feeds=self.feeds, only=only)
        save_graph(model, self._file)
        return treated

    def _close(self, only: Sequence[str], exact: Sequence[Mapping[str, Array]]) -> bool:
        if not only:
            return True
        least = self._cosine(only, exact)
        self.tried.append(Attempt(len(only), least))
        return least >= LEAST_COSINE

    def _cosine(self, only: Sequence[str], exact: Sequence[Mapping[str, Array]]) -> float:
        self._quantized(only)
        found = moved(self._file, exact, self.feeds, threads=self.threads)
        return least_cosine(found)

    def _by_sensitivity(self, names: list[str], exact: Sequence[Mapping[str, Array]]) -> list[str]:
        self.progress(f"quantizing {self.name}: which of {len(names)} operators move its outputs")
        cosines = {name: self._cosine([name], exact) for name in names}
        return sorted(names, key=lambda name: -cosines[name])

    def _ratio(self) -> Ratio | None:
        if not self.measured:
            return None
        self.progress(f"measuring {self.name}, quantized and not")
        ratio = self._measured(MEASURE_SECONDS)
        return self._measured(LONGER_SECONDS) if ratio.low < 1 <= ratio.high else ratio

    def _measured(self, seconds: float) -> Ratio:
        return faster(self.graph, self._file, self.feeds, threads=self.threads, seconds=seconds)

    def _said(self) -> str:
        best = max(self.tried, key=lambda a: a.least_cosine, default=None)
        return (
            ""
            if best is None
            else (
                f"cosine {best.least_cosine:.5f} with {best.operators} operators quantized, "
                f"{LEAST_COSINE} is asked"
            )
        )

    def _as_it_was(
        self, treated: list[Treated], why: str, *, ratio: Ratio | None = None
    ) -> Component:
        kept = [
            t if t.treatment == KEPT else Treated(t.node, t.module, t.operator, KEPT, why)
            for t in treated
        ]
        size = _size(self.graph)
        return Component(self.graph, kept, why, {}, ratio, self.tried, size, size)


def least_cosine(found: Mapping[str, Difference]) -> float:
    """The least cosine of all outputs; integers that differ count as the share that is equal."""
    return min((_cosine_of(d) for d in found.values()), default=1.0)


def _cosine_of(difference: Difference) -> float:
    if difference.not_finite:
        return -1.0
    if difference.mismatched:
        return 1 - difference.mismatched / difference.count
    if difference.cosine is None:  # one of both is all zeros
        return float(difference.max_abs == 0)
    return difference.cosine


def _reworded(treated: Treated) -> Treated:
    if treated.why != LEFT_OUT:
        return treated
    why = f"in float32 because the outputs moved too far with it (cosine below {LEAST_COSINE})"
    return msgspec.structs.replace(treated, why=why)


def _size(graph: Path) -> int:
    files = [graph, graph.with_suffix(".data")]
    return sum(f.stat().st_size for f in files if f.is_file())
