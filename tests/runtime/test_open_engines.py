"""A bundle with an engine for another machine: what is taken, and what is said of it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mmedge.bundles import verify_bundle
from mmedge.errors import BundleError, MissingDependencyError
from mmedge.runtime import load
from mmedge.runtime.device.gpu import find_gpu
from mmedge.runtime.engines_taken import engines_taken, sentences
from mmedge.runtime.manifest import MANIFEST, Engine, read_manifest, sealed
from mmedge.storage import sha256_file

STAMPS = {"tensorrt_rtx": "1.7.1.116", "compute_capability": "8.6"}
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of these tests has no GPU, whatever machine they run on."""
    monkeypatch.setattr(find_gpu, "__kwdefaults__", {"libraries": ("no-such-library.so",)})


def add_engine(bundle: Path, component: str, built_with: dict[str, str]) -> None:
    """An engine that is best of all, and must not be touched: its file is no engine at all."""
    manifest = read_manifest(bundle)
    file = f"engines/{component}.engine"
    (bundle / file).write_bytes(b"to be refused before it is read")
    engine = Engine("tensorrt", file, "fp16", built_with)
    changed = msgspec.structs.replace(
        manifest,
        engines=manifest.engines | {component: (engine, *manifest.engines[component])},
        files=manifest.files | {file: sha256_file(bundle / file)},
    )
    (bundle / MANIFEST).write_bytes(msgspec.json.encode(sealed(changed)))


@needs_rtx
def test_an_engine_for_another_machine_is_passed_over_untouched(tiny_bundle: Path) -> None:
    add_engine(tiny_bundle, "image_encoder", STAMPS)
    with load(tiny_bundle, threads=1) as bundle:
        inputs, wanted = bundle.golden()
        assert set(bundle.run(inputs)) == set(wanted)
        assert {engine.kind for engine in bundle.chosen.values()} == {"onnxruntime"}
        (passed,) = bundle.passed_over["image_encoder"]
        assert (passed.kind, passed.file) == ("tensorrt", "engines/image_encoder.engine")
        assert passed.why == "this machine has no NVIDIA driver (no no-such-library.so)"
        others = {name for name in bundle.chosen if name != "image_encoder"}
        assert all(bundle.passed_over[name] == () for name in others)


def test_the_hint_is_to_build_again_for_another_stamp(tiny_bundle: Path) -> None:
    add_engine(tiny_bundle, "fusion", {"compute_capability": "8.6"})
    with load(tiny_bundle, threads=1) as bundle:
        (passed,) = bundle.passed_over["fusion"]
        target = bundle.manifest.target
    assert passed.why == "it does not say which TensorRT it was built with"
    assert passed.hint is not None
    assert passed.hint.endswith(f"mmedge build {tiny_bundle} --target {target}")


def test_components_with_one_reason_are_one_sentence(tiny_bundle: Path) -> None:
    for component in ("image_encoder", "fusion"):
        add_engine(tiny_bundle, component, {"tensorrt": "10.3.0.30"})
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("tensorrt is installed here")
    with load(tiny_bundle, threads=1) as bundle:
        taken = engines_taken(bundle)
        names = ", ".join(name for name in bundle.chosen if name in ("image_encoder", "fusion"))
    assert sentences(taken) == [
        f"{names}: on onnxruntime, not on tensorrt: tensorrt is not installed; "
        "pip install 'mmedge[tensorrt]'"
    ]
    json.dumps(taken)


@needs_rtx
def test_what_was_asked_for_runs_or_fails(tiny_bundle: Path) -> None:
    with load(tiny_bundle, engine="onnxruntime", threads=1) as bundle:
        assert not any(bundle.passed_over.values())
    with pytest.raises(BundleError, match="no engine of kind 'tensorrt'") as caught:
        load(tiny_bundle, engine="tensorrt")
    assert caught.value.details["found"] == "onnxruntime"
    for component in read_manifest(tiny_bundle).engines:
        add_engine(tiny_bundle, component, STAMPS)
    with pytest.raises(MissingDependencyError, match="no NVIDIA driver"):
        load(tiny_bundle, engine="tensorrt")


@pytest.mark.parametrize("damage", ["missing", "changed", "link"])
def test_a_damaged_engine_is_passed_over_unread(tiny_bundle: Path, damage: str) -> None:
    add_engine(tiny_bundle, "fusion", STAMPS)
    file = tiny_bundle / "engines" / "fusion.engine"
    whole = file.read_bytes()
    file.unlink()
    if damage == "changed":
        file.write_bytes(whole[:-1])
    if damage == "link":
        (tiny_bundle.parent / "elsewhere").write_bytes(whole)
        file.symlink_to(tiny_bundle.parent / "elsewhere")
    said = {"missing": "is missing", "changed": "changed or truncated", "link": "is a link"}[damage]
    with load(tiny_bundle, threads=1) as bundle:
        inputs, wanted = bundle.golden()
        assert set(bundle.run(inputs)) == set(wanted)
        (line,) = sentences(engines_taken(bundle))
        target = bundle.manifest.target
    assert line.startswith("fusion: on onnxruntime, not on tensorrt: engines/fusion.engine ")
    assert said in line
    assert line.endswith(f"build it again: mmedge build {tiny_bundle} --target {target}")
    for component in read_manifest(tiny_bundle).engines.keys() - {"fusion"}:
        add_engine(tiny_bundle, component, STAMPS)
        (tiny_bundle / f"engines/{component}.engine").unlink()
    with pytest.raises(BundleError, match=r"engines/.*\.engine ") as caught:
        load(tiny_bundle, engine="tensorrt")
    assert "mmedge build" in str(caught.value)
    with pytest.raises(BundleError, match=r"\.engine"):
        verify_bundle(tiny_bundle)


def test_the_graph_behind_a_damaged_engine_must_be_whole(tiny_bundle: Path) -> None:
    add_engine(tiny_bundle, "fusion", STAMPS)
    graph = next(tiny_bundle.glob("engines/fusion*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"fusion.*\.onnx is not the file") as caught:
        load(tiny_bundle)
    assert caught.value.details["try"] == "copy the bundle again, or compile it again"


def test_if_none_can_be_opened_every_one_is_told(
    tiny_bundle: Path, run_python: Callable[..., Any]
) -> None:
    component = next(iter(read_manifest(tiny_bundle).engines))
    add_engine(tiny_bundle, component, {"tensorrt": "10.3.0.30"})
    code = """
import sys
from mmedge.errors import MmedgeError
from mmedge.runtime import load
try:
    load(sys.argv[1])
except MmedgeError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    done = run_python(code, tiny_bundle, without=["onnxruntime", "tensorrt"])
    assert done.returncode == 9
    assert f"can run no engine of component {component!r}" in done.stdout
    assert f"engines/{component}.engine (tensorrt): tensorrt is not installed" in done.stdout
    assert f"engines/{component}.onnx (onnxruntime): onnxruntime is needed" in done.stdout
    for extra in ("mmedge[tensorrt]", "mmedge[onnxruntime]"):
        assert extra in done.stdout
