from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mmedge.pipeline import compile_project

TOML = """
name = "steps"

[model]
factory = "model:build"
weights = "weights.pt"

[inputs.x]
shape = ["batch", "time", 6]

[axes]
time = { min = 2, opt = 20, max = 200 }

[data]
evaluation = "data:samples"
metric = "data:score"
"""

MODEL = """
import torch
from torch import nn


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        states, last = self.gru(x)
        return {"last": self.head(last[-1]), "steps": self.head(states)}


def build():
    torch.manual_seed(0)
    return Steps()


if __name__ == "__main__":
    torch.save(build().state_dict(), "weights.pt")
"""

DATA = """
import numpy as np

LENGTHS = [5, 50, 120, 5, 50, 5]


def samples():
    rng = np.random.default_rng(0)
    for length in LENGTHS:
        yield {"x": rng.standard_normal((length, 6)).astype("float32")}, length


def score(outputs, targets):
    assert outputs["last"].shape == (6, 3)
    assert sorted(targets) == sorted(LENGTHS)
    return float(all(len(s) == t for s, t in zip(outputs["steps"], targets, strict=True)))
"""


def test_samples_of_unequal_length_are_verified_each_at_its_own(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name, text in {"mmedge.toml": TOML, "model.py": MODEL, "data.py": DATA}.items():
        (project / name).write_text(text)
    subprocess.run([sys.executable, "model.py"], cwd=project, check=True)
    compiled = compile_project(
        project,
        output=tmp_path / "out.mmedge",
        cache=tmp_path / "cache",
        threads=1,
        measure_seconds=0,
    )
    record = compiled.report["verification"]
    assert record["samples"] == 6
    assert record["end_to_end"]["steps"]["count"] == (3 * 5 + 2 * 50 + 120) * 3
    assert record["task"] == {"metric": "data:score", "before": 1, "after": 1, "samples": 6}
