from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedge.errors import BundleError
from mmedge.runtime.manifest import (
    COMPILABLE,
    MANIFEST,
    SCHEMA,
    Manifest,
    check_files,
    native_engines,
    read_manifest,
    sealed,
)

Edit = Callable[[dict[str, Any]], None]


def resealed(data: Any) -> Any:
    """Edited by somebody who knows of the checksum."""
    with suppress(msgspec.MsgspecError):
        return msgspec.to_builtins(sealed(msgspec.convert(data, Manifest)))
    return data


@pytest.fixture
def edited(tiny_bundle: Path) -> Callable[[Edit], Path]:
    """`edited(change)`: the bundle with its manifest changed in place."""

    def edit(change: Edit) -> Path:
        path = tiny_bundle / MANIFEST
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(resealed(data)))
        return tiny_bundle

    return edit


def setting(*path: Any, to: object) -> Edit:
    def change(data: Any) -> None:
        *parents, last = path
        for key in parents:
            data = data[key]
        data[last] = to

    return change


def test_a_sound_manifest(tiny_bundle: Path) -> None:
    manifest = read_manifest(tiny_bundle)
    check_files(tiny_bundle, manifest)
    assert manifest.schema == SCHEMA
    assert set(manifest.engines) == {"question_encoder", "image_encoder", "fusion"}
    present = {str(p.relative_to(tiny_bundle)) for p in tiny_bundle.rglob("*") if p.is_file()}
    assert set(manifest.files) | {MANIFEST} == present


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": "1"}', f'{{"schema": {SCHEMA}}}', "\xff"]
)
def test_a_damaged_manifest(tiny_bundle: Path, text: str) -> None:
    (tiny_bundle / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match="manifest is damaged") as caught:
        read_manifest(tiny_bundle)
    assert str(caught.value.details["where"]).endswith(MANIFEST)


def test_what_is_no_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path, tiny_bundle / MANIFEST):
        with pytest.raises(BundleError, match="is not a bundle"):
            read_manifest(path)


@pytest.mark.parametrize("name", COMPILABLE)
def test_what_a_bundle_is_compiled_from_is_to_be_compiled(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(BundleError, match="is not a bundle") as caught:
        read_manifest(tmp_path)
    assert f"mmedge compile {tmp_path}" in str(caught.value.details["try"])


@pytest.mark.parametrize("name", ["engines", MANIFEST])
def test_of_a_part_of_a_bundle_the_whole_is_named(tiny_bundle: Path, name: str) -> None:
    with pytest.raises(BundleError, match="is not a bundle") as caught:
        read_manifest(tiny_bundle / name)
    assert str(tiny_bundle) in str(caught.value.details["try"])


def test_another_schema_is_told_before_unknown_keys(edited: Callable[[Edit], Path]) -> None:
    def newer(data: dict[str, Any]) -> None:
        data |= {"schema": SCHEMA + 1, "quantum": {}}

    with pytest.raises(BundleError, match="does not read") as caught:
        read_manifest(edited(newer))
    assert "upgrade" in str(caught.value.details["try"])
    with pytest.raises(BundleError, match="does not read") as caught:
        read_manifest(edited(setting("schema", to=0)))
    assert "compile it again" in str(caught.value.details["try"])


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "..", ".", "", "engines\\x", "..\\x"]
)
def test_a_file_outside_the_bundle(edited: Callable[[Edit], Path], name: str) -> None:
    with pytest.raises(BundleError, match="outside the bundle"):
        read_manifest(edited(setting("files", name, to="0" * 64)))


@pytest.mark.parametrize("name", ["nul\0byte", "x" * 5000, "manifest.json", "engines"])
def test_a_file_that_cannot_be(edited: Callable[[Edit], Path], name: str) -> None:
    directory = edited(setting("files", name, to="0" * 64))
    with pytest.raises(BundleError, match=r"missing|not the file"):
        check_files(directory, read_manifest(directory))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (setting("engines", "fusion", 0, "file", to="engines/other.onnx"), "does not list it"),
        (setting("golden", "file", to="other.npz"), "does not list it"),
        (setting("labels", "logits", to="other.json"), "does not list it"),
        (setting("engines", "fusion", to=[]), "has no engine"),
        (setting("golden", "tolerance", to={}), "golden outputs"),
        (setting("wiring", "outputs", "logits", to="fusion.nothing"), "nothing makes"),
        (setting("wiring", "components", 0, "bindings", to={}), "not wired"),
        (setting("wiring", "axes", to={}), "no range"),
        (setting("wiring", "inputs", 0, "spec", "dtype", to="float33"), "impossible dtype"),
        (setting("wiring", "inputs", 0, "preprocess", to={"kind": "magic"}), "magic"),
        (setting("wiring", "inputs", 0, "extra", to=1), "damaged"),
    ],
)
def test_a_manifest_that_contradicts_itself(
    edited: Callable[[Edit], Path], change: Edit, problem: str
) -> None:
    with pytest.raises(BundleError, match=problem):
        read_manifest(edited(change))


def test_any_changed_value_is_found(tiny_bundle: Path) -> None:
    path = tiny_bundle / MANIFEST
    text = path.read_text()
    for old, new in (("0.0001", "0.9001"), ('"tiny"', '"tidy"'), ("fp32", "fp16")):
        changed = text.replace(old, new)
        assert changed != text
        path.write_text(changed)
        with pytest.raises(BundleError, match="manifest is damaged"):
            read_manifest(tiny_bundle)
    path.write_text(json.dumps(json.loads(text)))  # laid out differently: the same manifest
    read_manifest(tiny_bundle)


def test_links_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for name in ("golden.npz", "engines", MANIFEST):
        copy = Path(shutil.copytree(tiny_bundle, tmp_path / f"copy-{name}"))
        shutil.rmtree(outside, ignore_errors=True)
        outside.mkdir()
        (copy / name).rename(outside / name)
        (copy / name).symlink_to(outside / name)
        with pytest.raises(BundleError, match="is a link"):
            check_files(copy, read_manifest(copy))
    (tiny_bundle / "more").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="more is in the bundle and not in its manifest"):
        check_files(tiny_bundle, read_manifest(tiny_bundle))


def test_the_bundle_itself_may_be_reached_by_a_link(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tiny_bundle)
    check_files(tmp_path / "link", read_manifest(tmp_path / "link"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def walk(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in nested data."""
    found = [path] if path else []
    if isinstance(data, (dict, list)):
        pairs = data.items() if isinstance(data, dict) else enumerate(data)
        for key, value in list(pairs):
            found += walk(value, (*path, key))
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_edits_are_accepted_or_refused(
    tiny_system: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Replace, remove or copy values of the JSON: BundleError, or a manifest that can be read."""
    original = json.loads((tiny_system.bundle / MANIFEST).read_text())
    paths = walk(original)
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(paths))
        target: Any = original
        try:
            for key in parents:
                target = target[key]
            kind = data.draw(st.sampled_from(["replace", "remove", "copy"]))
            if kind == "replace":
                target[last] = data.draw(JSON)
            elif kind == "remove":
                del target[last]
            else:
                target[last] = data.draw(st.sampled_from(walk(original)))[-1]
        except (KeyError, IndexError, TypeError):
            continue
    directory = tmp_path_factory.mktemp("fuzzed")
    (directory / MANIFEST).write_text(json.dumps(resealed(original)))
    with pytest.raises(BundleError):  # at the latest because no file is there
        check_files(directory, read_manifest(directory))


def test_what_a_build_can_make_again(edited: Callable[[Edit], Path]) -> None:
    """Every engine but a component's last; never a file that something else needs."""

    def more(data: dict[str, Any]) -> None:
        (portable,) = data["engines"]["fusion"]
        data["files"]["engines/fusion.sm86.engine"] = "0" * 64
        spare = {**portable, "kind": "tensorrt", "file": "engines/fusion.sm86.engine"}
        golden = {**spare, "file": data["golden"]["file"]}
        data["engines"]["fusion"] = [spare, golden, portable]

    directory = edited(more)
    manifest = read_manifest(directory)
    assert native_engines(manifest) == {"engines/fusion.sm86.engine": manifest.target}
    check_files(directory, manifest, besides=native_engines(manifest))
    with pytest.raises(BundleError, match=r"sm86\.engine is missing") as caught:
        check_files(directory, manifest)
    assert f"mmedge build {directory} --target {manifest.target}" in str(caught.value)
