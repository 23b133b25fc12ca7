"""Commands called as a user does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_vlm import VisionLanguage, write_both

from mmedge.cli import main

Run = Callable[..., "Done"]


class Done:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """All of stdout as one JSON value."""
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("inspect", path)`: main() in this process, as the console script calls it."""

    def call(*words: object) -> Done:
        capsys.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as done:
            code = int(done.code or 0)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """`-i` flags with one example."""
    np.save(tmp_path / "image.npy", np.zeros((1, 3, 12, 12), "float32"))
    np.save(tmp_path / "question.npy", np.zeros((1, 5), "int64"))
    names = ("image", "question")
    return [word for name in names for word in ("-i", f"{name}={tmp_path / name}.npy")]


@pytest.fixture(scope="session")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VisionLanguage:
    """The tiny vision-language model."""
    return write_both(tmp_path_factory.mktemp("vlm"))
