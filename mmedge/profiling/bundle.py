"""A bundle on this machine: latency end to end and per component, load time, peak memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mmedge.errors import BundleError, error_from
from mmedge.profiling.latency import measure_interleaved
from mmedge.profiling.machine import fingerprint, watch
from mmedge.profiling.memory import run_measured
from mmedge.profiling.record import as_record
from mmedge.profiling.stages import END_TO_END_SHARE, eager
from mmedge.runtime.bundle import Bundle, load
from mmedge.runtime.engines_taken import engines_taken
from mmedge.runtime.next_token import COMPARED
from mmedge.stage import Workspace
from mmedge.tensors import Array

COLD_STARTS = 3
COLD_START_LIMIT_S = 300.0


def measure_bundle(
    directory: Path,
    *,
    workspace: Workspace | None,
    seconds: float,
    threads: int | None,
    engine: str | None = None,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Profile the bundle in `directory` on its golden inputs, at the batch size to optimise for.

    workspace: the PyTorch model to measure alternately with it, if any.
    """
    progress("cold start and memory, in a process of its own")
    cold = [cold_start(directory, threads, engine=engine) for _ in range(COLD_STARTS)]
    with load(directory, threads=threads, engine=engine) as bundle, watch() as state:
        inputs = _inputs(bundle)
        run = partial(bundle.run, inputs, options=COMPARED)
        calls: dict[str, Callable[[], object]] = {"engine": run}
        if workspace is not None:
            calls["pytorch"] = eager(workspace, inputs)
        progress(f"measuring end to end for {seconds * END_TO_END_SHARE:.0f} s")
        whole = measure_interleaved(calls, seconds=seconds * END_TO_END_SHARE)
        components = _components(bundle, inputs, seconds * (1 - END_TO_END_SHARE), progress)
        taken = engines_taken(bundle)
    return {
        "bundle": str(directory),
        "name": bundle.manifest.name,
        **taken,
        "batch": len(next(iter(inputs.values()))),
        "threads": threads,
        "machine": fingerprint(),
        "end_to_end": as_record(whole, with_samples=True),
        "components": components,
        "cold_start": cold,
        "dirty": list(state.reasons),
    }


def cold_start(
    directory: Path, threads: int | None, *, engine: str | None = None
) -> dict[str, Any]:
    """Load and run the bundle once in a new process: milliseconds and peak memory of it all."""
    arguments = [sys.executable, "-m", "mmedge.profiling.cold_start", str(directory)]
    arguments += [str(threads or 0), *([engine] if engine else [])]
    use = run_measured(arguments, timeout_s=COLD_START_LIMIT_S)
    told = (use.stdout_tail.strip().splitlines() or [""])[-1]
    if use.exit_code != 0:
        raise error_from(told) or BundleError(
            "the bundle could not be run in a new process",
            found=use.stderr_tail,
            where=directory,
        )
    facts: dict[str, Any] = json.loads(told)
    return {**facts, "process_ms": use.wall_seconds * 1e3, "peak_rss_bytes": use.peak_rss_bytes}


def _inputs(bundle: Bundle) -> dict[str, Array]:
    """Golden inputs at the batch size that the bundle is optimised for."""
    golden, _ = bundle.golden()
    first = bundle.wiring.inputs[0].spec.shape[0]
    count = first if isinstance(first, int) else bundle.wiring.axes[first].opt
    rows = {name: [i % len(array) for i in range(count)] for name, array in golden.items()}
    return {name: array[rows[name]] for name, array in golden.items()}


def _components(
    bundle: Bundle, inputs: dict[str, Array], seconds: float, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Every component on the feeds that it gets when the whole model runs."""
    feeds: dict[str, dict[str, Array]] = {}

    def remember(name: str, given: dict[str, Array]) -> dict[str, Array]:
        feeds.setdefault(name, given)
        return bundle.run_component(name, given)

    bundle.run(inputs, run_component=remember, options=COMPARED)
    measured = {}
    for name, given in feeds.items():
        progress(f"measuring {name}")
        calls = {"engine": partial(bundle.run_component, name, given)}
        measured[name] = as_record(measure_interleaved(calls, seconds=seconds / len(feeds)))
    return measured
