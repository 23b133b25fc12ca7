"""Full-size decoders, compiled and timed against PyTorch eager: `benchmarks/decoders.py`.

For each model: its checkpoint with random weights, `mmedge compile` in a process of its own (time
and peak memory of each stage, against the bound of 1.5 x checkpoint + 1 GiB; the last stage,
which measures, has PyTorch's model and the engine in memory at once), then in one run,
interleaved: the encoder, the first token (encoder and prompt), and a long answer, by `generate` of
both. Prints JSON, and with --record writes it to profiles/results/cpu/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from full_size_checkpoints import CHECKPOINTS, NEW_TOKENS, write_checkpoint
from readme_tables import markdown, write_table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "profiles" / "results" / "cpu"
Call = Callable[[], object]


def main() -> None:
    """Make, compile, measure, print."""
    options = arguments()
    for name in options.models or CHECKPOINTS:
        with tempfile.TemporaryDirectory() as folder:
            facts = benchmark(name, Path(folder), options)
        text = json.dumps(msgspec.to_builtins(facts), indent=1) + "\n"
        print(text)
        if options.record:
            RESULTS.mkdir(parents=True, exist_ok=True)
            suffix = f"-{options.threads}-threads" if options.threads else ""
            (RESULTS / f"{name}{suffix}.json").write_text(text)
    if options.record:
        write_table("decoders", table([RESULTS / f"{known}.json" for known in CHECKPOINTS]))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[[], *CHECKPOINTS], metavar="MODEL")
    parser.add_argument("--threads", type=int, help="of both; by default every core")
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring, for each model")
    parser.add_argument("--cache-capacity", type=int, help="as mmedge compile takes it")
    parser.add_argument("--record", action="store_true", help=f"write to {RESULTS}")
    return parser.parse_args()


def benchmark(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All that is known of one model."""
    from mmedge.cache import tool_versions
    from mmedge.profiling.machine import fingerprint

    size = write_checkpoint(name, folder / "checkpoint")
    facts: dict[str, Any] = {
        "model": name,
        "weights": "random",
        "measured": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "threads": options.threads,
        "cache_capacity": options.cache_capacity,
        "machine": msgspec.to_builtins(fingerprint()),
        "versions": tool_versions(),
        "checkpoint_bytes": size,
    }
    facts["compile"] = compile_there(folder, size, options)
    facts |= measure(folder, options)
    return facts


def compile_there(folder: Path, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """`mmedge compile` in a process of its own: seconds and memory, whole and by stage."""
    command = [sys.executable, "-m", "mmedge", "compile", str(folder / "checkpoint")]
    command += ["--output", str(folder / "it.mmedge"), "--measure-seconds", "2", "--json"]
    command += ["--allow-slower"]  # it is measured at length below
    given = {"--threads": options.threads, "--cache-capacity": options.cache_capacity}
    for flag, value in given.items():
        command += [flag, str(value)] if value else []
    environment = {"XDG_CACHE_HOME": str(folder / "cache")}
    start = time.perf_counter()
    done = run_with(command, environment)
    report = json.loads(done)
    peaks = {row["stage"]: row["peak_rss_bytes"] for row in report["stages"]}
    bound = int(1.5 * size + 2**30)
    return {
        "seconds": time.perf_counter() - start,
        "peak_rss_bytes": peaks["verify"],
        "bound_bytes": bound,
        "within_bound": peaks["verify"] <= bound,
        "measuring_peak_rss_bytes": peaks["measure"],
        "expected_peak_bytes": report["resources"]["expected_peak_bytes"],
        "stages": report["stages"],
        "end_to_end": report["verification"]["end_to_end"],
        "components": {
            name: max(found["relative"] for found in outputs.values())
            for name, outputs in report["verification"]["components"].items()
        },
    }


def run_with(command: list[str], environment: Mapping[str, str]) -> str:
    """What the command prints; its progress goes where ours does."""
    import os

    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides in one run, and whether they say the same."""
    from mmedge import runtime
    from mmedge.profiling.latency import measure_interleaved
    from mmedge.profiling.machine import watch

    model = eager(folder / "checkpoint", options.threads)
    with runtime.load(folder / "it.mmedge", threads=options.threads) as bundle:
        inputs = bundle.preprocess(raw_inputs(bundle))
        calls = candidates(model, bundle, inputs)
        said = {side: np.asarray(calls[f"{side} answer"]()) for side in ("mmedge", "pytorch")}
        with watch() as state:
            timed = {
                phase: measure_interleaved(
                    {side: calls[f"{side} {phase}"] for side in ("mmedge", "pytorch")},
                    seconds=options.seconds * share,
                    warmup_seconds=5.0,
                )
                for phase, share in (("encode", 0.2), ("first", 0.3), ("answer", 0.5))
            }
    shapes = {name: [str(array.dtype), *array.shape] for name, array in inputs.items()}
    return {
        "inputs": shapes,
        "tokens_equal": bool(np.array_equal(said["mmedge"], said["pytorch"])),
        "disturbed": list(state.reasons),
        "latency": {phase: summary(found) for phase, found in timed.items()},
        "decode": decode_speed(timed),
    }


def eager(checkpoint: Path, threads: int | None) -> Any:
    """The model as a user of transformers has it."""
    import torch
    import transformers

    if threads:
        torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()  # it would warn at every call
    warnings.filterwarnings("ignore", module="transformers")
    (name,) = transformers.AutoConfig.from_pretrained(checkpoint).architectures
    return getattr(transformers, name).from_pretrained(checkpoint).eval()


def raw_inputs(bundle: Any) -> dict[str, Any]:
    """A photograph and a question, or a spoken sentence: what the bundle asks for."""
    from PIL import Image

    from mmedge.data.real_samples import real_samples

    samples = real_samples()
    known = {
        "image": Image.open(samples.images[0]).convert("RGB"),
        "text": "What is the roof of the temple made of?",
        "audio": samples.speech_at(16_000),
    }
    return {name: known[name] for name in bundle.raw_inputs.raw_names}


def candidates(model: Any, bundle: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, Call]:
    """ "<side> <phase>" -> a call."""
    import torch

    tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
    encoder = bundle.wiring.components[0]
    feeds = {name: inputs[source] for name, source in encoder.bindings.items()}

    def pytorch(new: int) -> Call:
        def call() -> object:
            with torch.inference_mode():
                made = model.generate(**tensors, max_new_tokens=new, do_sample=False)
            return made[:, -new:]

        return call

    def encode() -> object:
        with torch.inference_mode():
            given = {name: torch.from_numpy(array) for name, array in feeds.items()}
            method = getattr(model, "get_image_features", None) or model.get_encoder()
            return method(**given)

    return {
        "mmedge encode": lambda: bundle.run_component(encoder.name, feeds),
        "pytorch encode": encode,
        "mmedge first": lambda: bundle.generate(**inputs, max_new_tokens=1),
        "pytorch first": pytorch(1),
        "mmedge answer": lambda: bundle.generate(**inputs, max_new_tokens=NEW_TOKENS),
        "pytorch answer": pytorch(NEW_TOKENS),
    }


def summary(found: Any) -> dict[str, Any]:
    """Medians with their 95% intervals; the ratio is PyTorch's median over ours."""
    return {
        **{
            side: {
                "p50_ms": one.p50_ms,
                "p50_interval_ms": one.p50_interval_ms,
                "calls": one.count,
                "cpu_ms_per_call": found.cpu_ms_per_call[side],
            }
            for side, one in found.summaries.items()
        },
        "speedup": msgspec.to_builtins(found.ratios["pytorch"]),
    }


def decode_speed(timed: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What is left of an answer without its first token, by token."""
    found = {}
    for side in ("mmedge", "pytorch"):
        first, answer = (timed[phase].summaries[side].p50_ms for phase in ("first", "answer"))
        step = (answer - first) / (NEW_TOKENS - 1)
        found[side] = {"ms_per_token": step, "tokens_per_second": 1e3 / step}
    return found


HEADINGS = (
    "model",
    "tokens per second",
    "of PyTorch eager",
    "first token",
    "of PyTorch eager",
    "compile",
    "peak memory",
    "bound",
    "peak while measuring",
)


def table(records: Iterable[Path]) -> str:
    """The recorded models as a table, and what they were measured on."""
    found = [json.loads(record.read_text()) for record in records if record.exists()]
    places = sorted({_measured_on(one) for one in found})
    return f"{markdown(HEADINGS, map(_cells, found))}\n\nMeasured on {'; '.join(places)}."


def _measured_on(one: dict[str, Any]) -> str:
    machine = one["machine"]
    versions = ", ".join(f"{name} {one['versions'][name]}" for name in ("torch", "onnxruntime"))
    return f"{machine['cpu_model']}, {machine['usable_cores']} cores ({versions})"


def _cells(one: dict[str, Any]) -> list[str]:
    first, compiled = one["latency"]["first"], one["compile"]
    disturbed = " (disturbed)" if one["disturbed"] else ""
    return [
        one["model"] + disturbed,
        *(f"{one['decode'][side]['tokens_per_second']:.0f}" for side in ("mmedge", "pytorch")),
        *(f"{first[side]['p50_ms']:.0f} ms" for side in ("mmedge", "pytorch")),
        f"{compiled['seconds']:.0f} s",
        f"{compiled['peak_rss_bytes'] / 1e9:.2f} GB",
        f"{compiled['bound_bytes'] / 1e9:.2f} GB",
        f"{compiled['measuring_peak_rss_bytes'] / 1e9:.2f} GB",
    ]


if __name__ == "__main__":
    main()
