"""`python -m mmedge.profiling.cold_start BUNDLE [THREADS [ENGINE]]`: load and two runs, as JSON.

THREADS 0 leaves it to the engine; ENGINE is the kind to run.
"""

from __future__ import annotations

import itertools
import json
import sys
import time


def main() -> None:
    """Print import, load, first and second run in milliseconds."""
    from mmedge.errors import MmedgeError

    try:
        print(json.dumps(_measured()))
    except MmedgeError as error:  # for the parent, which raises it again
        print(json.dumps(error.to_dict()))
        raise SystemExit(error.exit_code) from error


def _measured() -> dict[str, float]:
    times = [time.perf_counter()]
    from mmedge.runtime import load
    from mmedge.runtime.next_token import COMPARED

    times.append(time.perf_counter())
    given_threads, given_engine = (*sys.argv[2:4], None, None)[:2]
    threads = int(given_threads or 0) or None
    with load(sys.argv[1], threads=threads, engine=given_engine) as bundle:
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
    return dict(zip(names, spans, strict=True))


if __name__ == "__main__":
    main()
