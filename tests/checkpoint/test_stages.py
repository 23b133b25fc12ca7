"""The stage that reads the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmedge.artifact import Artifact, Provenance
from mmedge.checkpoint.stages import Load
from mmedge.config import CompileConfig
from mmedge.errors import CheckpointError
from mmedge.project import project_from_mapping
from mmedge.stage import Workspace
from mmedge.targets import load_target

FIRST = Artifact(
    Provenance(
        name="x", checkpoint_sha256="", project_digest="", config={}, target="cpu", versions={}
    )
)


def workspace(directory: Path, weights: str, told: list[str], parameters: int = 1) -> Workspace:
    def never(*_: Any) -> Any:
        raise AssertionError("loading asks for the model alone")

    model = {"name": "x", "model": {"weights": weights}}
    return Workspace(
        project=project_from_mapping(directory, model),
        config=CompileConfig(),
        target=load_target("cpu"),
        load_model=lambda: (never, {"parameters": parameters}),
        load_samples=never,
        make_split=never,
        progress=told.append,
    )


@pytest.mark.parametrize("weights", [".", "../clip", "weights.pt"])
def test_what_is_loaded_is_named(tmp_path: Path, weights: str) -> None:
    """ "loading ." names nothing."""
    (tmp_path / "clip").mkdir()
    told: list[str] = []
    finished = Load().run(FIRST, workspace(tmp_path / "clip", weights, told), tmp_path)
    expected = weights if weights == "weights.pt" else str((tmp_path / "clip").resolve())
    assert told == [f"loading {expected}"]
    assert finished.records["load"] == {"parameters": 1}


def test_a_model_without_parameters_is_none(tmp_path: Path) -> None:
    finished = Load().run(FIRST, workspace(tmp_path, "weights.pt", [], 0), tmp_path)
    with pytest.raises(CheckpointError, match="no parameters"):
        Load().ensures(finished)
