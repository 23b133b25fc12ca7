"""`python -m mmedge.profiling.cold_start BUNDLE [THREADS]`: one load and two runs, as JSON."""

from __future__ import annotations

import itertools
import json
import sys
import time


def main() -> None:
    """Print import, load, first and second run in milliseconds."""
    times = [time.perf_counter()]
    from mmedge.runtime import load
    from mmedge.runtime.next_token import COMPARED

    times.append(time.perf_counter())
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else None
    with load(sys.argv[1], threads=threads) as bundle:
        times.append(time.perf_counter())
        inputs, _ = bundle.golden()
        one = {name: array[:1] for name, array in inputs.items()}
        given = one if isinstance(bundle.wiring.inputs[0].spec.shape[0], str) else inputs
        times.append(time.perf_counter())
        bundle.run(given, options=COMPARED)
        times.append(time.perf_counter())
        bundle.run(given, options=COMPARED)
        times.append(time.perf_counter())
    spans = [(after - before) * 1e3 for before, after in itertools.pairwise(times)]
    names = ("import_ms", "load_ms", "golden_ms", "first_run_ms", "second_run_ms")
    print(json.dumps(dict(zip(names, spans, strict=True))))


if __name__ == "__main__":
    main()
