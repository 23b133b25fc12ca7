"""Prove and measure the attention kernels on this machine's GPU: one command for a bare machine.

    python kernels/prove_on_gpu.py --record

Needs PyTorch with CUDA and nvcc, no TensorRT. In order: build the kernels for this GPU; compare
them with float64 on fresh inputs with a poisoned output, every variant, odd shapes, every tile
shape; the same bits again and again; compute-sanitizer's memcheck and racecheck; which tile shape
is fastest for each benchmark case; the benchmark against PyTorch's and Triton's kernels; one
reading of Nsight Compute. A tool that is not installed is reported as such. Exit code 6 where an
answer is wrong or a sanitizer complains.

With `--device cpu --library LIB` the host emulation of the kernels takes the GPU's place for the
answers; nothing is timed then.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch  # noqa: E402 - after the paths above
from attention import DTYPES, RESULTS, built_for, described, relative_error  # noqa: E402
from attention_cases import Case, Inputs, exact, make_inputs, read_cases  # noqa: E402
from attention_peers import mmedge_kernel  # noqa: E402
from interleaved import rounds, timers  # noqa: E402

from mmedge.kernels.attention_library import AttentionLibrary, PreparedAttention  # noqa: E402

# Rounding P to the inputs' type and the output once: a few units of 2^-11 and 2^-8, relative.
LARGEST_ERROR = {"float16": 1e-3, "bfloat16": 8e-3}
GUARD_ELEMENTS = 4096
REPEATS = 20
SANITIZERS = ("memcheck", "racecheck")
NCU_METRICS = (
    "gpu__time_duration.sum",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active",
    "smsp__inst_executed.sum",
)
WRONG = 6


def main() -> None:
    """Everything, in order; a step that fails is told, and the next ones still run."""
    options = arguments()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("needs an NVIDIA GPU and a CUDA build of PyTorch: none here")
    path = options.library or built_for(device)
    library = AttentionLibrary(path)
    facts: dict[str, Any] = {"device": described(device), "library": path.name}
    facts["answers"] = told("answers", answers(library, device, quick=options.quick))
    facts["repeatable"] = told("repeatable", [repeatable(library, device)])
    if not options.answers_only and device.type == "cuda":
        facts["sanitizers"] = told("compute-sanitizer", [sanitized(t, path) for t in SANITIZERS])
        facts["tile_shapes"] = told("tile shapes", fastest_tiles(library, device))
        facts["nsight_compute"] = told("Nsight Compute", [nsight(path)])
        benchmark(path, record=options.record)
    if options.record:
        record(facts)
    if any(
        row.get("wrong")
        for key in ("answers", "repeatable", "sanitizers")
        for row in facts.get(key, [])
    ):
        raise SystemExit(WRONG)


def arguments() -> argparse.Namespace:
    """The command line."""
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--library", type=Path, help="the kernels; built for this GPU without it")
    cli.add_argument("--device", default="cuda")
    cli.add_argument("--quick", action="store_true", help="fewer shapes and one seed")
    cli.add_argument("--answers-only", action="store_true", help="no sanitizer, nothing timed")
    cli.add_argument("--record", action="store_true", help=f"write to {RESULTS}")
    return cli.parse_args()


def told(title: str, rows: Any) -> list[dict[str, Any]]:
    """Print rows as they come; a step's wrong answers are in capitals."""
    found = []
    for row in rows:
        mark = "WRONG " if row.get("wrong") else ""
        print(f"{title}: {mark}" + ", ".join(f"{k} {v}" for k, v in row.items()), flush=True)
        found.append(row)
    return found


def answer_cases(*, quick: bool) -> Iterator[Case]:
    """Odd shapes of every variant: lengths no tile divides, one query, one key, many heads."""
    shapes = [(1, 1), (5, 77), (64, 64), (129, 197), (197, 197), (33, 300), (1, 4096), (16, 1031)]
    for number, (queries, keys) in enumerate(shapes[:5] if quick else shapes):
        variants = itertools.product((0, 1, 2), (False, True), (None, 0.3))
        for causal, bias, lengths in itertools.islice(variants, 4 if quick else None):
            yield Case(
                name=f"{queries}x{keys} causal {causal} bias {bias} lengths {lengths}",
                model="",
                goal="",
                batch=2,
                heads=4,
                kv_heads=(4, 2, 1)[number % 3],
                query_length=queries,
                key_length=keys,
                head_size=(32, 64, 72, 80, 96, 128, 40, 256)[number],
                causal=causal,
                bias=bias,
                lengths=lengths,
            )


def answers(
    library: AttentionLibrary, device: torch.device, *, quick: bool
) -> Iterator[dict[str, Any]]:
    """Each case, dtype and tile shape, against float64: the largest relative error of a case."""
    for case in answer_cases(quick=quick):
        for name, dtype in DTYPES.items():
            worst, tiles = 0.0, 1
            for seed in range(1 if quick else 3):
                inputs = make_inputs(case, dtype, device, seed=seed)
                right = exact(case, inputs)
                tiles = mmedge_kernel(library, case, inputs).tactics  # type: ignore[attr-defined]
                errors = (
                    error_of(library, case, inputs, right, tactic=t) for t in range(-1, tiles)
                )
                worst = max(worst, *errors)
            yield {
                "case": case.name,
                "head_size": case.head_size,
                "dtype": name,
                "tile_shapes": tiles,
                "relative_error": worst,
                "wrong": not worst <= LARGEST_ERROR[name],
            }


def error_of(
    library: AttentionLibrary, case: Case, inputs: Inputs, right: torch.Tensor, *, tactic: int
) -> float:
    """The relative error of one launch into poison; infinite where it wrote beside its output."""
    size = inputs.query.numel()
    poisoned = torch.full(
        (size + 2 * GUARD_ELEMENTS,), math.nan, dtype=inputs.query.dtype, device=inputs.query.device
    )
    output = poisoned[GUARD_ELEMENTS : GUARD_ELEMENTS + size].view(inputs.query.shape)
    launch(library, case, inputs, output, tactic=tactic)
    guards = torch.cat((poisoned[:GUARD_ELEMENTS], poisoned[-GUARD_ELEMENTS:]))
    if not bool(guards.isnan().all()) or not bool(output.isfinite().all()):
        return math.inf
    return relative_error(output, right)


def launch(
    library: AttentionLibrary, case: Case, inputs: Inputs, output: torch.Tensor, *, tactic: int = -1
) -> None:
    """One launch, waited for."""
    PreparedAttention(
        library,
        inputs.query,
        inputs.key,
        inputs.value,
        scale=case.scale,
        causal=case.causal,
        bias=inputs.bias,
        key_lengths=inputs.key_lengths,
        output=output,
        tactic=tactic,
    )()
    if output.is_cuda:
        torch.cuda.synchronize(output.device)


def repeatable(library: AttentionLibrary, device: torch.device) -> dict[str, Any]:
    """Whether the same inputs give the same bits, launch after launch."""
    different = 0
    cases = [c for c in answer_cases(quick=True) if c.causal == 0][:4]
    for case in cases:
        inputs = make_inputs(case, torch.float16, device, seed=0)
        first = torch.empty_like(inputs.query)
        launch(library, case, inputs, first)
        for _ in range(REPEATS):
            again = torch.empty_like(inputs.query)
            launch(library, case, inputs, again)
            different += not torch.equal(first, again)
    return {
        "cases": len(cases),
        "launches": REPEATS,
        "different": different,
        "wrong": different > 0,
    }


def sanitized(tool: str, library: Path) -> dict[str, Any]:
    """This script's answers under a tool of compute-sanitizer."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"tool": tool, "result": "not available: compute-sanitizer is not installed"}
    script = [sys.executable, __file__, "--quick", "--answers-only", "--library", str(library)]
    command = [program, "--tool", tool, "--error-exitcode", "9", *script]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.*)", ran.stdout + ran.stderr)
    return {
        "tool": tool,
        "result": summary[-1] if summary else f"no summary, exit code {ran.returncode}",
        "wrong": ran.returncode != 0,
    }


def fastest_tiles(library: AttentionLibrary, device: torch.device) -> Iterator[dict[str, Any]]:
    """For each benchmark case the median of every tile shape, interleaved, and the best one."""
    for case in read_cases():
        inputs = make_inputs(case, torch.float16, device, seed=0)
        tiles = mmedge_kernel(library, case, inputs).tactics  # type: ignore[attr-defined]
        names = {"table": -1, **{str(t): t for t in range(tiles)}}
        calls = {n: [mmedge_kernel(library, case, inputs, tactic=t)] for n, t in names.items()}
        samples = rounds(timers(calls, device), count=30)
        p50 = {n: sorted(s)[len(s) // 2] for n, s in samples.items()}
        best = min(p50, key=lambda n: p50[n])
        yield {"case": case.name, "fastest": best, "median_ms": p50}


def nsight(library: Path) -> dict[str, Any]:
    """One reading of the plain case by Nsight Compute."""
    program = shutil.which("ncu")
    if program is None:
        return {"result": "not available: ncu is not installed"}
    script = [sys.executable, str(ROOT / "benchmarks" / "attention.py"), "--only", "vit-b16"]
    command = [program, "--metrics", ",".join(NCU_METRICS), "--csv", "--launch-count", "1"]
    command += ["--kernel-name", "regex:attention", *script, "--rounds", "6"]
    command += ["--library", str(library)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in ran.stdout.splitlines() if any(m in line for m in NCU_METRICS)]
    return {"result": lines or f"no reading, exit code {ran.returncode}: {ran.stderr[-300:]}"}


def benchmark(library: Path, *, record: bool) -> None:
    """benchmarks/attention.py in both dtypes."""
    for dtype in DTYPES:
        command = [sys.executable, str(ROOT / "benchmarks" / "attention.py"), "--dtype", dtype]
        command += ["--library", str(library), *(["--record"] if record else [])]
        subprocess.run(command, check=False)


def record(facts: dict[str, Any]) -> None:
    """The proof beside the device's other results."""
    slug = re.sub(r"[^a-z0-9]+", "-", facts["device"]["name"].lower()).strip("-")
    path = RESULTS / slug / "attention-proof.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
