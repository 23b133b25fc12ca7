"""Do TensorRT's engines run on this machine's GPU, and how fast: `benchmarks/tensorrt_on_gpu.py`.

First a small graph: built with no compute capability set, for the GPU's own, and for another one;
each engine's validity as the library tells it, whether it opens, and how far its outputs are from
numpy's. Then each BUNDLE that is named: its engines for --target are built where they are missing,
run on the golden inputs, and timed against the bundle's ONNX Runtime engine, interleaved in one
run. Prints a table; --record writes JSON to profiles/results/<GPU>/tensorrt.json. Exit code
9 where there is no GPU or no library.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper, parser

from mmedge.backends.tensorrt.build import build_engine
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.building import build_bundle
from mmedge.engine_plan import Range
from mmedge.errors import MmedgeError
from mmedge.profiling.latency import measure_interleaved
from mmedge.profiling.machine import fingerprint
from mmedge.profiling.record import as_record
from mmedge.runtime.bundle import load
from mmedge.runtime.device.gpu import Gpu, find_gpu
from mmedge.runtime.runner import open_engine
from mmedge.runtime.tensorrt.library import TensorRT, find_library
from mmedge.tensors import TensorSpec
from mmedge.verify.golden import check_golden

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "profiles" / "results"
ROWS, FEATURES, OTHER_GPU = 8, 64, "8.6"
GRAPH = "g (float16[rows, 64] x) => (float16[rows, 64] y) { a = MatMul(x, w) y = Relu(a) }"
Call = Callable[[], object]


def main() -> None:
    """Probe, measure, print."""
    options = arguments()
    try:
        gpu = find_gpu()
        library = find_library(options.library, purpose="this benchmark")
    except MmedgeError as error:
        raise SystemExit(_told(error)) from error
    facts: dict[str, Any] = {
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": fingerprint(),
        "gpu": vars(gpu),
        "library": {"name": library.name, "version": library.version},
        "small_graph": probes(library, gpu),
        "bundles": [measured(Path(b), options) for b in options.bundles],
    }
    print_table(facts)
    if options.record:
        slug = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
        path = RESULTS / slug / "tensorrt.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(msgspec.to_builtins(facts), indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("bundles", nargs="*", metavar="BUNDLE")
    cli.add_argument("--library", default="tensorrt_rtx", choices=("tensorrt", "tensorrt_rtx"))
    cli.add_argument("--target", help="whose engines are built into the bundles where missing")
    cli.add_argument("--seconds", type=float, default=20.0, help="of measuring, for each bundle")
    cli.add_argument("--record", action="store_true", help=f"write to {RESULTS}")
    return cli.parse_args()


def probes(library: TensorRT, gpu: Gpu) -> list[dict[str, Any]]:
    """The small graph, built in three ways, each opened and run."""
    ways = {"not set": None, "its own": gpu.compute_capability, "another": OTHER_GPU}
    with tempfile.TemporaryDirectory() as folder:
        graph, weights = small_graph(Path(folder))
        return [
            {"compute_capability": way, **probe(library, graph, weights, wanted)}
            for way, wanted in ways.items()
        ]


def small_graph(folder: Path) -> tuple[Path, Any]:
    """relu(x @ w) in float16; its file, and w."""
    weights = np.random.default_rng(0).normal(size=(FEATURES, FEATURES)).astype(np.float16) / 8
    model = onnx.helper.make_model(
        parser.parse_graph(GRAPH), opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
    )
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    onnx.save(model, folder / "probe.onnx")
    return folder / "probe.onnx", weights


def probe(library: TensorRT, graph: Path, weights: Any, wanted: str | None) -> dict[str, Any]:
    """One engine of the small graph: how far it came, and what it gave."""
    specs = (TensorSpec("x", "float16", ("rows", FEATURES)),)
    profile = {"rows": Range(1, ROWS, 64)}
    try:
        built = build_engine(
            library, graph, specs, [profile], settings=Settings(wanted), label="probe"
        )
    except MmedgeError as error:
        return {"stage": "build", "error": str(error)}
    found = {"size_bytes": len(built.data), "validity": validity(library, built.data)}
    path = graph.with_suffix(".engine")
    path.write_bytes(built.data)
    x = np.random.default_rng(1).normal(size=(ROWS, FEATURES)).astype(np.float16)
    try:
        with open_engine("tensorrt", path) as runner:
            y = runner.infer({"x": x})["y"]
    except MmedgeError as error:
        return {"stage": "run", "error": str(error), **found}
    right = np.maximum(x.astype(np.float64) @ weights.astype(np.float64), 0)
    largest = float(np.abs(y - right).max())
    return {"stage": "ran", "error": None, "largest_difference": largest, **found}


def validity(library: TensorRT, engine: bytes) -> str | None:
    """What the library itself says of running the engine here; None where it has no such call."""
    runtime = library.module.Runtime(library.logger)
    ask = getattr(runtime, "get_engine_validity", None)
    return None if ask is None else str(ask(engine))


def measured(bundle: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A bundle's engines: equal to the golden outputs, and timed against ONNX Runtime's."""
    try:
        if options.target is not None:
            build_bundle(bundle, target=options.target, progress=print)
        with candidates(bundle) as calls:
            compared = calls.pop("golden")()
            timed = measure_interleaved(calls, seconds=options.seconds)
    except MmedgeError as error:
        return {"bundle": bundle.name, "error": str(error)}
    return {"bundle": bundle.name, "error": None, "golden": compared, "timed": as_record(timed)}


@contextmanager
def candidates(bundle: Path) -> Iterator[dict[str, Call]]:
    """One call of the whole model on its golden inputs, by engine; "golden" compares."""
    with ExitStack() as stack:
        native = stack.enter_context(load(bundle, engine="tensorrt"))
        portable = stack.enter_context(load(bundle, engine="onnxruntime"))
        inputs, _wanted = native.golden()
        calls: dict[str, Call] = {
            "golden": lambda: check_golden(native),
            "tensorrt": lambda: native.run(inputs),
            "onnxruntime": lambda: portable.run(inputs),
        }
        yield calls


def print_table(facts: dict[str, Any]) -> None:
    """What was found, in lines."""
    library = facts["library"]
    print(f"{facts['gpu']['name']}, {library['name']} {library['version']}")
    for row in facts["small_graph"]:
        said = row["error"] or f"largest difference {row['largest_difference']:.2e}"
        validity_ = f", validity {row['validity']}" if row.get("validity") else ""
        print(f"compute capability {row['compute_capability']}: {row['stage']}{validity_}: {said}")
    for row in facts["bundles"]:
        if row["error"]:
            print(f"{row['bundle']}: {row['error']}")
            continue
        p50 = {name: s["p50_ms"] for name, s in row["timed"]["summaries"].items()}
        print(f"{row['bundle']}: " + ", ".join(f"{n} {ms:.3f} ms" for n, ms in p50.items()))


def _told(error: MmedgeError) -> int:
    print(error)
    return error.exit_code


if __name__ == "__main__":
    main()
