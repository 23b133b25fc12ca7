"""`run`, `verify` and `profile` say which engine they took, and take the one they are told."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mmedge.runtime.manifest import MANIFEST, Engine, read_manifest, sealed
from mmedge.runtime.runner import ENGINES
from mmedge.storage import sha256_file

Run = Callable[..., Any]
WHY = "image_encoder: on onnxruntime, not on tensorrt: tensorrt is not installed"


@pytest.fixture
def bundle(tiny_bundle: Path) -> Path:
    """With a Jetson's engine of one component."""
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("tensorrt is installed here")
    manifest = read_manifest(tiny_bundle)
    file = "engines/image_encoder.engine"
    (tiny_bundle / file).write_bytes(b"of another machine")
    engine = Engine("tensorrt", file, "fp16", {"tensorrt": "10.3.0.30"})
    engines = {"image_encoder": (engine, *manifest.engines["image_encoder"])}
    changed = msgspec.structs.replace(
        manifest,
        engines=manifest.engines | engines,
        files=manifest.files | {file: sha256_file(tiny_bundle / file)},
    )
    (tiny_bundle / MANIFEST).write_bytes(msgspec.json.encode(sealed(changed)))
    return tiny_bundle


def test_run_says_it_on_stderr_and_not_in_its_json(
    run: Run, bundle: Path, inputs: list[str]
) -> None:
    done = run("run", bundle, *inputs, "--json")
    assert done.code == 0
    assert WHY in done.err
    assert "logits" in done.json
    assert run("run", bundle, *inputs, "--engine", "onnxruntime").err == ""


def test_verify_has_it_in_the_table_and_in_json(run: Run, bundle: Path) -> None:
    assert WHY in " ".join(run("verify", bundle, "-q").out.split())
    facts = run("verify", bundle, "--json", "-q").json
    assert facts["engines"]["image_encoder"] == "onnxruntime"
    (passed,) = facts["passed_over"]["image_encoder"]
    assert passed["why"] == "tensorrt is not installed"
    assert passed["file"] == "engines/image_encoder.engine"


def test_profile_has_it_too(run: Run, bundle: Path) -> None:
    facts = run("profile", bundle, "--seconds", "0.1", "--json", "-q").json
    assert facts["engines"]["image_encoder"] == "onnxruntime"
    assert facts["passed_over"]["image_encoder"][0]["kind"] == "tensorrt"


@pytest.mark.parametrize("command", ["run", "verify", "profile"])
def test_an_engine_that_was_asked_for_is_not_replaced(
    run: Run, bundle: Path, inputs: list[str], command: str
) -> None:
    given = inputs if command == "run" else ["-q"]
    done = run(command, bundle, *given, "--engine", "tensorrt")
    assert done.code in (8, 9)  # no such engine of another component; not installed
    assert done.out == ""
    assert "tensorrt" in done.err
    done = run(command, bundle, *given, "--engine", "openvino")
    assert done.code == 8
    assert "has no engine of kind 'openvino'" in done.err
    assert f"kinds of engines: {', '.join(ENGINES)}" in done.err
