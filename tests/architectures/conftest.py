"""The zoo's checkpoints, each written once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import zoo


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`checkpoint("clip")`: its directory. Not to be changed."""
    torch.set_num_threads(1)

    @cache
    def written(name: str) -> Path:
        directory = tmp_path_factory.mktemp("zoo") / name
        zoo.build(name, directory)
        return directory

    return written
