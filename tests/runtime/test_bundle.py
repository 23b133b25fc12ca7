from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mmedge.errors import BundleError, InputError, MmedgeError, VerificationError
from mmedge.runtime import load
from mmedge.runtime.manifest import MANIFEST, Manifest, read_manifest, sealed
from mmedge.storage import sha256_file
from mmedge.verify.golden import check_golden

RUN = """
import sys
from mmedge.errors import MmedgeError
from mmedge.runtime import load

try:
    with load(sys.argv[1]) as bundle:
        inputs, wanted = bundle.golden()
        found = bundle.run(inputs)
    assert all(abs(found[name] - wanted[name]).max() < 1e-4 for name in wanted)
    loaded = {name.split(".")[0] for name in sys.modules}
    assert not loaded & {"torch", "onnx", "onnx_ir", "onnxscript", "transformers"}
    print("ran", sorted(found))
except MmedgeError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def every_file(bundle: Path) -> list[str]:
    return [*read_manifest(bundle).files, MANIFEST]


def relisted(bundle: Path, name: str) -> None:
    """The manifest with the hash that a file now has: damage that was there when it was packed."""
    data = json.loads((bundle / MANIFEST).read_text())
    data["files"][name] = sha256_file(bundle / name)
    manifest = sealed(msgspec.convert(data, Manifest))
    (bundle / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def test_it_runs(tiny_bundle: Path) -> None:
    with load(tiny_bundle, threads=1) as bundle:
        assert set(bundle.chosen) == set(bundle.load_ms) == set(bundle.manifest.engines)
        inputs, wanted = bundle.golden()
        outputs = bundle(**inputs)
        assert outputs["logits"].shape == wanted["logits"].shape
        assert bundle.labels("logits") == ["no", "yes", "red", "blue", "two"]
        assert bundle.labels("answer") is None
        assert check_golden(bundle)["examples"] == len(inputs["image"])
        one = {name: array[:1] for name, array in inputs.items()}
        np.testing.assert_allclose(bundle.run(one)["logits"], wanted["logits"][:1], atol=1e-5)
    bundle.close()
    with pytest.raises(BundleError, match="closed"):
        bundle.run(inputs)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove", "grow"])
def test_damage_to_any_file_is_found(tiny_bundle: Path, damage: str) -> None:
    for name in every_file(tiny_bundle):
        if name == MANIFEST and damage == "grow":
            continue
        path = tiny_bundle / name
        original = path.read_bytes()
        for position in (0, len(original) // 2, len(original) - 1):
            changed = bytearray(original)
            changed[position] ^= 0x01
            versions = {
                "flip": bytes(changed),
                "truncate": original[:position],
                "empty": b"",
                "grow": original + b"\n",
            }
            path.unlink() if damage == "remove" else path.write_bytes(versions[damage])
            with pytest.raises(BundleError) as caught:
                load(tiny_bundle)
            # Without a manifest the directory is no bundle; each other file is named.
            assert name in str(caught.value)
            assert name == MANIFEST or caught.value.details["try"]
            assert caught.value.exit_code == 8
            path.write_bytes(original)
    with load(tiny_bundle):
        pass


@pytest.mark.parametrize("name", ["extra.txt", "engines/extra.onnx", ".hidden", "engines/q/x"])
def test_a_file_more_is_found(tiny_bundle: Path, name: str) -> None:
    (tiny_bundle / name).parent.mkdir(exist_ok=True)
    (tiny_bundle / name).touch()
    with pytest.raises(BundleError, match="not in its manifest") as caught:
        load(tiny_bundle)
    assert name in str(caught.value)
    assert "move it out of the bundle" in str(caught.value.details["try"])


def test_without_onnxruntime_there_is_one_clear_sentence(
    tiny_bundle: Path, run_python: Callable[..., Any]
) -> None:
    done = run_python(RUN, tiny_bundle, without=["onnxruntime"])
    assert done.returncode == 9
    assert done.stdout.startswith("onnxruntime is needed for running bundles on a CPU")
    assert "pip install 'mmedge[onnxruntime]'" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_it_runs_without_the_compiler(tiny_bundle: Path, run_python: Callable[..., Any]) -> None:
    gone = ["torch", "onnx", "onnx_ir", "onnxscript", "transformers", "PIL", "tokenizers"]
    done = run_python(RUN, tiny_bundle, without=[*gone, "jinja2", "safetensors", "mmedge_export"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "ran ['answer', 'logits']\n"


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"imgae": 1}, "there is no input 'imgae'"),
        ({"image": np.zeros((1, 3, 12, 12), "float32")}, "'question' is missing"),
        ({"image": "photo.png"}, "takes a tensor"),
        ({"image": np.zeros((1, 3, 12, 12))}, "takes a tensor"),
        ({"image": np.zeros((1, 3, 12, 13), "float32")}, "wrong shape"),
        ({"image": np.full((1, 3, 12, 12), np.nan, "float32")}, "not finite"),
        ({"image": np.zeros((0, 3, 12, 12), "float32")}, "outside 1"),
    ],
)
def test_unfit_inputs_are_refused(tiny_bundle: Path, inputs: dict[str, Any], problem: str) -> None:
    with load(tiny_bundle) as bundle, pytest.raises(InputError, match=problem):
        bundle(**inputs)


def test_golden_outputs_that_the_engine_does_not_give(tiny_bundle: Path) -> None:
    path = tiny_bundle / "golden.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["output:logits"][0, 0] += 0.01
    np.savez(path, **arrays)
    relisted(tiny_bundle, "golden.npz")
    with load(tiny_bundle) as bundle, pytest.raises(VerificationError, match="'logits'"):
        check_golden(bundle)
    arrays["output:logits"] = arrays["output:logits"][:, :2]
    np.savez(path, **arrays)
    relisted(tiny_bundle, "golden.npz")
    with load(tiny_bundle) as bundle, pytest.raises(VerificationError, match="another shape"):
        check_golden(bundle)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04broken", b'["\xff"]'])
def test_a_file_that_was_packed_damaged(tiny_bundle: Path, content: bytes) -> None:
    for name in ("golden.npz", "labels.json", "engines/fusion.onnx"):
        original = (tiny_bundle / name).read_bytes()
        (tiny_bundle / name).write_bytes(content)
        relisted(tiny_bundle, name)
        with pytest.raises(MmedgeError) as caught:
            _use(tiny_bundle)
        assert Path(name).name in str(caught.value)
        (tiny_bundle / name).write_bytes(original)
        relisted(tiny_bundle, name)
    _use(tiny_bundle)


def _use(path: Path) -> None:
    with load(path) as bundle:
        bundle.labels("logits")
        check_golden(bundle)
