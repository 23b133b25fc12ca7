from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from mmedge.pipeline import compile_project
from mmedge.verify.compare import joined

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
        project, output=tmp_path / "out.mmedge", cache=tmp_path / "cache", measure_seconds=0
    )
    record = compiled.report["verification"]
    assert record["samples"] == 6
    assert record["end_to_end"]["steps"]["count"] == (3 * 5 + 2 * 50 + 120) * 3
    assert record["task"] == {"metric": "data:score", "before": 1, "after": 1, "samples": 6}


def test_outputs_are_joined_where_they_have_one_shape() -> None:
    first = {"last": np.zeros((2, 3)), "steps": np.zeros((2, 5, 3))}
    second = {"last": np.ones((1, 3)), "steps": np.ones((1, 7, 3))}
    both = joined([first, second])
    assert isinstance(both["last"], np.ndarray)
    assert both["last"].shape == (3, 3)
    assert [array.shape for array in both["steps"]] == [(5, 3), (5, 3), (7, 3)]
