"""The emulated library is compiled once for all test processes of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The helpers beside this file; kernels/ itself is no package.
sys.path.insert(0, str(Path(__file__).parent))

from emulator import Emulator, build_emulator, shipped_instance

Library = Callable[[str, int], Emulator]


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all processes of pytest-xdist, whose base directories lie side by side."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if base.name.startswith("popen-") else base) / "attention-kernels"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session")
def library(shared_directory: Path) -> Library:
    """The emulated library for a dtype and a padded head size, compiled where it is wanted."""
    made: dict[tuple[str, int], Emulator] = {}

    def find(number: str, padded: int) -> Emulator:
        if (number, padded) not in made:
            made[number, padded] = build_emulator(
                shared_directory, shipped_instance(number, padded)
            )
        return made[number, padded]

    return find
