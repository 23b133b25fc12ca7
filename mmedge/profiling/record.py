"""A measurement as the report and `--json` show it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from mmedge.profiling.latency import Measurement

# What a plot can show; more samples are thinned evenly.
PLOTTED_SAMPLES = 1000


def as_record(measurement: Measurement, *, with_samples: bool = False) -> dict[str, Any]:
    """Summaries, warm-ups and, where PyTorch was measured too, the speed-up over it.

    with_samples: also the latencies themselves, thinned for plotting.
    """
    record: dict[str, Any] = {
        "summaries": msgspec.to_builtins(measurement.summaries),
        "warmed_up": measurement.warmed_up,
        "cpu_ms_per_call": measurement.cpu_ms_per_call,
        "rounds": measurement.rounds,
        "wall_seconds": measurement.wall_seconds,
        "speedup": None,
    }
    if "pytorch" in measurement.ratios:
        # The engine is the baseline of the ratio: PyTorch's time over the engine's.
        record["speedup"] = msgspec.to_builtins(measurement.ratios["pytorch"])
    if with_samples:
        record["samples_ms"] = {
            name: _thinned(samples.ravel()) for name, samples in measurement.samples_ms.items()
        }
    return record


def _thinned(samples: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    if len(samples) > PLOTTED_SAMPLES:
        rows = np.linspace(0, len(samples) - 1, PLOTTED_SAMPLES).round().astype(int)
        samples = samples[rows]
    return [round(float(value), 5) for value in samples]
