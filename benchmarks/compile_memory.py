"""Peak memory of compiling a large random ViT: `benchmarks/compile_memory.py --gigabytes 2.4`.

Makes the checkpoint in a temporary directory, compiles it in a process of its own, and prints as
JSON what was expected and used: the largest resident set, the largest part of it that is not pages
of mapped files (sampled every 20 ms from /proc), seconds, and both for each stage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mmedge.profiling.memory import parse_status

PERIOD_S = 0.02
COMPILE = """
import json, sys
from pathlib import Path
from mmedge.checkpoint.describe import write_project_file
from mmedge.pipeline import compile_project

directory = Path(sys.argv[1])
write_project_file(directory)
compiled = compile_project(
    directory, output=sys.argv[2], cache=Path(sys.argv[3]), measure_seconds=float(sys.argv[4]),
    allow_slower=True, progress=lambda line: print(line, file=sys.stderr),
)
report = compiled.report
print(json.dumps({key: report[key] for key in ("resources", "stages", "verification")}))
"""


def main() -> None:
    """Make, compile, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.4)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--measure-seconds", type=float, default=2.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = make_checkpoint(Path(folder) / "model", options.gigabytes, options.dtype)
        facts = compile_there(Path(folder), options.measure_seconds)
    bound = 1.5 * size + 2**30
    print(json.dumps({"checkpoint_bytes": size, "bound_bytes": bound, **facts}, indent=1))


def make_checkpoint(directory: Path, gigabytes: float, dtype: str) -> int:
    """A ViT of about that size in that dtype; its size in bytes."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    layers, width = 12, 64
    bytes_each = 4 if dtype == "float32" else 2
    while 12 * layers * width**2 * bytes_each < gigabytes * 1e9:
        width += 64
    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        image_size=32,
        patch_size=16,
    )
    torch.manual_seed(0)
    with torch.device("meta"):
        model = ViTForImageClassification(config)
    model = model.to(getattr(torch, dtype)).to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.uniform_(-0.02, 0.02)
    model.save_pretrained(directory)
    return sum(file.stat().st_size for file in directory.glob("*.safetensors"))


def compile_there(folder: Path, measure_seconds: float) -> dict[str, Any]:
    """Compile `folder`/model and watch the process."""
    places = [folder / "model", folder / "out.mmedge", folder / "cache", measure_seconds]
    command = [sys.executable, "-c", COMPILE, *map(str, places)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    held = 0
    while process.poll() is None:
        held = max(held, _held_bytes(process.pid))
        time.sleep(PERIOD_S)
    assert process.stdout is not None
    text = process.stdout.read()
    if process.returncode:
        raise SystemExit(process.returncode)
    report = json.loads(text.splitlines()[-1])
    return {
        "seconds": time.perf_counter() - start,
        "peak_rss_bytes": report["stages"][-1]["peak_rss_bytes"],
        "peak_held_bytes": held,
        **report["resources"],
        "stages": report["stages"],
        "end_to_end": report["verification"]["end_to_end"],
    }


def _held_bytes(pid: int) -> int:
    """Memory of the process that is no page of a file; 0 when it has just ended."""
    try:
        return parse_status(Path(f"/proc/{pid}/status").read_text(), "RssAnon") or 0
    except OSError:
        return 0


if __name__ == "__main__":
    main()
