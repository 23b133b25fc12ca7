"""`mmedge inspect` of engines, and of the attention of a bundle."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx
import onnx.parser
import pytest

from mmedge.backends.tensorrt.build import build_engine
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.engine_plan import EnginePlan, Range
from mmedge.runtime.device.gpu import find_gpu
from mmedge.runtime.manifest import MANIFEST, Engine, read_manifest, sealed
from mmedge.runtime.tensorrt.library import find_library
from mmedge.storage import sha256_file

Run = Callable[..., Any]
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)
SCALE = """
<ir_version: 10, opset_import: ["" : 20]>
scale (float[2, 3] x) => (float[2, 3] y)
<float[3] w = {1, 2, 3}> { y = Mul (x, w) }
"""
PLAN = EnginePlan(
    kind="tensorrt",
    library="tensorrt_rtx",
    precision="fp32",
    profiles=({"batch": Range(1, 1, 1)}, {"batch": Range(2, 8, 16)}),
    compute_capability="8.9",
)


@pytest.fixture(autouse=True)
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_gpu, "__kwdefaults__", {"libraries": ("no-such-library.so",)})


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A real one, built for SM 8.9."""
    library = find_library("tensorrt_rtx", purpose="a test")
    graph, path = tmp_path / "scale.onnx", tmp_path / "scale.engine"
    onnx.save(onnx.parser.parse_model(SCALE), graph)
    built = build_engine(library, graph, [], [], settings=Settings("8.9"), label="scale")
    path.write_bytes(built.data)
    return path


def put_into(bundle: Path, engine: Path) -> Path:
    """The engine as one of the bundle's, built by PLAN."""
    manifest = read_manifest(bundle)
    file = "engines/image_encoder.engine"
    (bundle / file).write_bytes(engine.read_bytes())
    built_with = {"tensorrt_rtx": "1.7.1.116", "compute_capability": "8.9"}
    entry = Engine("tensorrt", file, "fp32", built_with, plan=PLAN.digest())
    changed = msgspec.structs.replace(
        manifest,
        engines=manifest.engines | {"image_encoder": (entry, *manifest.engines["image_encoder"])},
        files=manifest.files | {file: sha256_file(bundle / file)},
        plans={"rtx-4060": {"image_encoder": PLAN}},
    )
    (bundle / MANIFEST).write_bytes(msgspec.json.encode(sealed(changed)))
    return bundle / file


@needs_rtx
def test_an_engine_by_itself(run: Run, engine: Path) -> None:
    facts = run("inspect", engine, "--json").json
    version = find_library("tensorrt_rtx", purpose="a test").version
    assert (facts["kind"], facts["library"]) == ("engine", "tensorrt_rtx")
    assert facts["version"] == version
    assert facts["compute_capabilities"] == ["8.9"]
    assert facts["size_bytes"] == engine.stat().st_size
    assert facts["sha256"] == sha256_file(engine)
    assert facts["bundle"] is None
    assert facts["layers"] is None
    assert "no NVIDIA driver" in facts["no_layers"]
    shown = " ".join(run("inspect", engine).out.split())
    assert f"engine of tensorrt_rtx {version}" in shown
    assert "for compute capability 8.9" in shown
    assert "in no bundle" in shown


@needs_rtx
def test_an_engine_in_a_bundle(run: Run, tiny_bundle: Path, engine: Path) -> None:
    place = put_into(tiny_bundle, engine)
    entry = run("inspect", place, "--json").json["bundle"]
    assert entry["component"] == "image_encoder"
    assert entry["unchanged"] is True
    assert entry["built_with"]["compute_capability"] == "8.9"
    assert entry["plan"]["profiles"][1]["batch"] == {"min": 2, "opt": 8, "max": 16}
    assert [spec["name"] for spec in entry["inputs"]] == ["image"]
    shown = run("inspect", place).out
    assert "profile 1: batch 2..16, best 8" in shown
    assert "built with compute_capability 8.9" in shown
    assert "input image: float32[" in shown
    # The bundle itself lists what its engines are tied to.
    assert "compute_capability 8.9" in " ".join(run("inspect", tiny_bundle).out.split())


@needs_rtx
def test_an_engine_that_is_not_the_bundle_s(run: Run, tiny_bundle: Path, engine: Path) -> None:
    place = put_into(tiny_bundle, engine)
    with place.open("ab") as stream:
        stream.write(b"more")
    assert run("inspect", place, "--json").json["bundle"]["unchanged"] is False
    assert "its hash is another" in run("inspect", place).out
    other = place.with_name("other.engine")
    other.write_bytes(engine.read_bytes())
    assert "does not list it" in run("inspect", other).out
    (tiny_bundle / MANIFEST).write_text("{}")
    done = run("inspect", place)
    assert done.code == 0
    assert "of the bundle it lies in" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 and so on", "is no engine of TensorRT"),
        (b"vtrt", "is only a part of an engine"),
    ],
)
def test_what_is_no_engine_is_one_sentence(
    run: Run, tmp_path: Path, data: bytes, what: str
) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(data)
    done = run("inspect", path)
    assert done.code == 8
    assert what in done.err
    assert done.out == ""


def test_an_engine_by_another_name_is_known_by_how_it_begins(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"ftrt" + bytes(20) + bytes((10, 13, 3, 9)) + bytes(100))
    facts = run("inspect", path, "--json").json
    assert (facts["library"], facts["version"]) == ("tensorrt", "10.13.3.9")
    assert "that the file does not tell" in run("inspect", path).out


def test_attention_of_a_bundle(run: Run, tiny_bundle: Path) -> None:
    facts = run("inspect", tiny_bundle, "--attention", "--json").json
    report = json.loads((tiny_bundle / "report.json").read_bytes())
    blocks = [(c["name"], b) for c in report["components"] for b in c["rewrite"]["attention"]]
    listed = facts["attention"]["blocks"]
    assert sum(len(block["modules"]) for block in listed) == len(blocks)
    for block in listed:
        assert [e["kind"] for e in block["engines"]] == ["onnxruntime"]
    assert facts["attention"]["summary"] in " ".join(
        run("inspect", tiny_bundle, "--attention").out.split()
    )


def test_attention_is_told_by_engine(run: Run, tiny_bundle: Path) -> None:
    path = tiny_bundle / "report.json"
    report = json.loads(path.read_bytes())
    blocks = [
        {"module": "encoder.0.attention", "treatment": "fused", "why": "one Attention operator"},
        {"module": "encoder.1.attention", "treatment": "left", "why": "opset 18 has none"},
    ]
    report["components"][0]["rewrite"]["attention"] = blocks
    component = report["components"][0]["name"]
    path.write_text(json.dumps(report))
    manifest = read_manifest(tiny_bundle)
    own = Engine("tensorrt", "engines/own.engine", "fp32", {"tensorrt": "10.3.0.30"})
    (tiny_bundle / own.file).write_bytes(b"own")
    hashes = {name: sha256_file(tiny_bundle / name) for name in ("report.json", own.file)}
    changed = msgspec.structs.replace(
        manifest,
        engines=manifest.engines | {component: (own, *manifest.engines[component])},
        files=manifest.files | hashes,
    )
    (tiny_bundle / MANIFEST).write_bytes(msgspec.json.encode(sealed(changed)))
    facts = run("inspect", tiny_bundle, "--attention", "--json").json["attention"]
    fused, left = (block for block in facts["blocks"] if block["component"] == component)
    assert [engine["how"] for engine in fused["engines"]] == [
        "as one attention that it takes apart: no fused kernel is for float32",
        "as one attention operator",
    ]
    assert {engine["how"] for engine in left["engines"]} == {"as the operators that the model has"}
    shown = run("inspect", tiny_bundle, "--attention").out
    assert "encoder.0" in shown
    assert "fused" in shown


def test_attention_is_asked_of_bundles_only(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    done = run("inspect", tmp_path, "--attention")
    assert done.code == 3
    assert "only a bundle tells of its attention" in done.err
    manifest = read_manifest(tiny_bundle)
    (tiny_bundle / "report.json").write_text("[]")
    files = manifest.files | {"report.json": sha256_file(tiny_bundle / "report.json")}
    changed = sealed(msgspec.structs.replace(manifest, files=files))
    (tiny_bundle / MANIFEST).write_bytes(msgspec.json.encode(changed))
    done = run("inspect", tiny_bundle, "--attention")
    assert done.code == 8
    assert "no report.json that tells of attention" in done.err
