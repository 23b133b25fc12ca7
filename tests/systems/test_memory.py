"""The peak memory of a compile, in a process of its own, against the checkpoint's size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from mmedge.profiling.memory import run_measured

# The bound that is promised for checkpoints in float32: resident pages of mapped files included.
FACTOR = 1.5
ROOM_BYTES = 1 << 30
TIMEOUT_S = 500

COMPILE = """
import json, sys
from pathlib import Path
from mmedge.checkpoint.describe import write_project_file
from mmedge.pipeline import compile_project

directory = Path(sys.argv[1])
write_project_file(directory)
compiled = compile_project(
    directory, output=sys.argv[2], cache=Path(sys.argv[3]), threads=1, measure_seconds=0.5,
    allow_slower=True,
)
print(json.dumps(compiled.report["resources"]))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A ViT with 290 MB of random weights in float32."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=1024, num_hidden_layers=6, num_attention_heads=8, intermediate_size=4096,
        image_size=32, patch_size=16,
    )  # fmt: skip
    with torch.device("meta"):
        model = ViTModel(config)
    model = model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for tensor in model.state_dict().values():
        tensor.uniform_(-0.02, 0.02, generator=generator)
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
def test_a_compile_stays_within_the_bound_and_its_estimate(
    checkpoint: Path, tmp_path: Path
) -> None:
    size = (checkpoint / "model.safetensors").stat().st_size
    output, cache = tmp_path / "out.mmedge", tmp_path / "cache"
    arguments = [sys.executable, "-c", COMPILE, *map(str, (checkpoint, output, cache))]
    use = run_measured(arguments, timeout_s=TIMEOUT_S)
    assert use.exit_code == 0, use.stderr_tail
    assert use.peak_rss_bytes is not None
    assert size < use.peak_rss_bytes < FACTOR * size + ROOM_BYTES
    expected = json.loads(use.stdout_tail.splitlines()[-1])["expected_peak_bytes"]
    assert 0.5 * expected < use.peak_rss_bytes < expected
    # The weights are on disk twice: as exported, and as rewritten; engine and bundle are links.
    weights = [path.stat() for path in tmp_path.rglob("*.data")]
    assert len(weights) == 4
    assert len({stat.st_ino for stat in weights}) == 2
