"""One small two-branch model, its source file, and every way to save it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmedge.project import Project, project_from_mapping

torch.set_num_threads(1)

MODEL_SOURCE = """
import torch
from torch import nn


class TinyVQA(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.image_encoder = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width))
        self.question_encoder = nn.Embedding(7, width)
        self.head = nn.Linear(2 * width, 3)

    def forward(self, image, question, weight=None):
        pooled = self.image_encoder(image).mean((2, 3))
        return self.head(torch.cat([pooled, self.question_encoder(question).mean(1)], 1))


def build(width: int = 4) -> TinyVQA:
    return TinyVQA(width)


def broken(width: int = 4) -> TinyVQA:
    raise RuntimeError(f"no width {width}")


def not_a_model():
    return {"weights": 1}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "tiny_model.py").write_text(MODEL_SOURCE)
    return folder


@pytest.fixture
def make_project(directory: Path) -> Callable[..., Project]:
    def make(weights: str, factory: str = "tiny_model:build", **arguments: Any) -> Project:
        model = {"weights": weights, "factory": factory, "arguments": arguments}
        return project_from_mapping(directory, {"name": "tiny", "model": model})

    return make


@pytest.fixture
def model(make_project: Callable[..., Project]) -> torch.nn.Module:
    torch.manual_seed(0)
    built: torch.nn.Module = make_project("").load_callable("tiny_model:build")()
    return built.eval()


@pytest.fixture
def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 1, 6, 6, generator=generator), torch.tensor([[1, 2, 0], [3, 4, 5]])
