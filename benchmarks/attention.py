"""Our attention kernels against PyTorch's and Triton's: `python benchmarks/attention.py`.

Needs a GPU and nvcc. Each case of attention_cases.toml is run by every contender that can,
interleaved in one run, CUDA graphs replayed, inputs beyond the L2 cache; each answer is compared
with float64 first. Prints a table of ratios with their goals; --record writes JSON and a plot to
profiles/results/<GPU>/. With `--device cpu --library LIB` the host emulation of the kernels runs
in their place: its times say nothing, its answers do.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import torch
from attention_cases import CASES, Case, Inputs, exact, make_inputs, read_cases
from attention_floor import Peaks, floor, measure_peaks
from attention_goals import Goal, judged, read_goals
from attention_peers import Call, UnsupportedError, contenders
from attention_plot import plot
from interleaved import copies_beyond_cache, median_ms, rounds, timers

from mmedge.errors import MmedgeError
from mmedge.kernels.attention_library import AttentionLibrary
from mmedge.profiling.machine import fingerprint
from mmedge.profiling.statistics import paired_ratio

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "profiles" / "results"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
Prepare = Callable[[Case, Inputs], Call]


def main() -> None:
    """Measure, print, record."""
    options = arguments()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "this benchmark needs an NVIDIA GPU and a CUDA build of PyTorch: none here"
        )
    try:
        library = AttentionLibrary(options.library or built_for(device))
    except MmedgeError as error:
        print(error)
        raise SystemExit(error.exit_code) from error
    facts = measured(library, options, device)
    print_table(facts)
    if options.record:
        record(facts)


def arguments() -> argparse.Namespace:
    """The command line."""
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--library", type=Path, help="the kernels; built for this GPU without it")
    cli.add_argument("--device", default="cuda")
    cli.add_argument("--cases", type=Path, default=CASES)
    cli.add_argument("--only", nargs="*", default=None, metavar="CASE")
    cli.add_argument("--dtype", default="float16", choices=DTYPES)
    cli.add_argument("--rounds", type=int, default=50)
    cli.add_argument("--record", action="store_true", help=f"write to {RESULTS}")
    return cli.parse_args()


def built_for(device: torch.device) -> Path:
    """The kernels for this GPU, from `mmedge kernels build`'s cache or built now."""
    from mmedge.kernels.build import build_kernels

    major, minor = torch.cuda.get_device_capability(device)
    return build_kernels("attention", f"{major}.{minor}").library


def measured(
    library: AttentionLibrary, options: argparse.Namespace, device: torch.device
) -> dict[str, Any]:
    """Everything that was found, as it is recorded."""
    dtype, goals = DTYPES[options.dtype], read_goals(options.cases)
    asked = [c for c in read_cases(options.cases) if not options.only or c.name in options.only]
    small = {} if device.type == "cuda" else {"matrix": 512, "copy_bytes": 1 << 22}
    peaks = measure_peaks(device, lambda call: median_ms(call, device), **small)
    return {
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": msgspec.to_builtins(fingerprint()),
        "device": described(device),
        "dtype": options.dtype,
        "rounds": options.rounds,
        "peaks": vars(peaks),
        "cases": [
            one_case(c, library, goals, peaks, dtype=dtype, device=device, count=options.rounds)
            for c in asked
        ],
    }


def described(device: torch.device) -> dict[str, Any]:
    """The device and the versions that matter to it."""
    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if device.type != "cuda":
        return {"name": "host emulation", **facts}
    name = torch.cuda.get_device_name(device)
    return {"name": name, "cudnn": torch.backends.cudnn.version(), "driver": driver(), **facts}


def driver() -> str | None:
    """The driver's version, as it says itself."""
    import subprocess

    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def one_case(
    case: Case,
    library: AttentionLibrary,
    goals: tuple[Goal, ...],
    peaks: Peaks,
    *,
    dtype: torch.dtype,
    device: torch.device,
    count: int,
) -> dict[str, Any]:
    """A case: who ran it, how exactly, how fast, and what that means for its goals."""
    first = make_inputs(case, dtype, device, seed=0)
    copies = copies_beyond_cache(first.query.nbytes + 2 * first.key.nbytes, device)
    sets = [first, *(make_inputs(case, dtype, device, seed=s) for s in range(1, copies))]
    calls, refused, errors = prepared(case, sets, contenders(library))
    samples = rounds(timers(calls, device), count=count)
    ours = samples["mmedge"]
    ratios = {n: msgspec.to_builtins(paired_ratio(ours, s)) for n, s in samples.items()}
    least = floor(case, first.key_lengths, peaks)
    p50 = {name: float(torch.tensor(s).median()) for name, s in samples.items()}
    return {
        **msgspec.to_builtins(case),
        "sets_of_inputs": copies,
        "median_ms": p50,
        "times_faster": {n: r for n, r in ratios.items() if n != "mmedge"},
        "relative_error": errors,
        "refused": refused,
        "floor": {**vars(least), "bound": least.bound, "share": least.ms / p50["mmedge"]},
        "goals": judged(case.goal, goals, p50, least),
        "samples_ms": samples,
    }


def prepared(
    case: Case, sets: list[Inputs], who: dict[str, Prepare]
) -> tuple[dict[str, list[Call]], dict[str, str], dict[str, float]]:
    """Contender -> a call for each set of inputs; why others do not run; relative errors."""
    calls: dict[str, list[Call]] = {}
    refused: dict[str, str] = {}
    errors: dict[str, float] = {}
    right = exact(case, sets[0])
    for name, prepare in who.items():
        try:
            calls[name] = [prepare(case, inputs) for inputs in sets]
        except UnsupportedError as error:
            refused[name] = str(error)
            continue
        errors[name] = relative_error(calls[name][0](), right)
    return calls, refused, errors


def relative_error(found: torch.Tensor, right: torch.Tensor) -> float:
    """The norm of the difference over the norm of the exact answer."""
    return float((found.double() - right).norm() / right.norm())


def print_table(facts: dict[str, Any]) -> None:
    """A line for each case."""
    print(f"{facts['device']['name']}, {facts['dtype']}, torch {facts['device']['torch']}")
    print(f"{'case':<22}{'ms':>10}{'of floor':>10}  times faster than")
    for row in facts["cases"]:
        ratios = ", ".join(f"{n} {r['value']:.2f}" for n, r in row["times_faster"].items())
        share = f"{row['floor']['share']:.0%} {row['floor']['bound']}"
        print(f"{row['name']:<22}{row['median_ms']['mmedge']:>10.4f}{share:>16}  {ratios}")
        for goal in row["goals"]:
            met = "met" if goal["met"] else "MISSED"
            print(f"{'':<22}{met}: {goal['what']} {goal['found']:.2f}, wanted {goal['wanted']:.2f}")


def record(facts: dict[str, Any]) -> None:
    """Write the figures and their picture beside those of the device's other results."""
    slug = re.sub(r"[^a-z0-9]+", "-", facts["device"]["name"].lower()).strip("-")
    folder = RESULTS / slug
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"attention-{facts['dtype']}.json").write_text(json.dumps(facts, indent=1) + "\n")
    (folder / f"attention-{facts['dtype']}.svg").write_text(plot(facts))


if __name__ == "__main__":
    main()
