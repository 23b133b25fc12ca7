from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mmedge.artifact import Artifact
from mmedge.engines import open_artifact
from mmedge.errors import BundleError, MmedgeError


@pytest.fixture(scope="module")
def inputs(tiny_system: Any) -> dict[str, np.ndarray]:
    with np.load(Path(tiny_system.bundle) / "golden.npz") as golden:
        names = [name for name in golden.files if name.startswith("input:")]
        return {name.removeprefix("input:"): golden[name] for name in names}


def test_lean_engines_give_the_same_values(built: Artifact, inputs: dict[str, np.ndarray]) -> None:
    with (
        open_artifact(built, threads=1) as usual,
        open_artifact(built, threads=1, lean=True) as lean,
    ):
        wanted, found = usual.run(inputs), lean.run(inputs)
    assert set(wanted) == set(built.wired.outputs)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def test_closed_engines_open_again(built: Artifact, inputs: dict[str, np.ndarray]) -> None:
    with open_artifact(built, threads=1) as opened:
        wanted = opened.run(inputs)
        opened.close()
        opened.close()
        found = opened.run(inputs)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def test_an_engine_is_opened_when_it_is_used(
    built: Artifact, inputs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    engine = built.engines["fusion"]
    missing = msgspec.structs.replace(engine, path=str(tmp_path / "fusion.onnx"))
    artifact = msgspec.structs.replace(built, engines={**built.engines, "fusion": missing})
    with open_artifact(artifact, threads=1) as opened:
        opened.run_component("question_encoder", {"question": inputs["question"]})
        with pytest.raises(BundleError, match=r"fusion\.onnx is missing"):
            opened.run(inputs)


def test_none_is_left_open(built: Artifact, inputs: dict[str, np.ndarray]) -> None:
    with open_artifact(built, threads=1) as opened:
        opened.run(inputs)
        runner = opened._runners["fusion"]
    with pytest.raises(MmedgeError, match="closed"):
        runner.infer({})
