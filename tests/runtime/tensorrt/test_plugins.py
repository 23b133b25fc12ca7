"""Plugins that an engine needs are found, compared with its stamps, and told when they miss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from host_device import GPU

from mmedge.errors import BuildError, MissingDependencyError
from mmedge.kernels.build import place_of
from mmedge.runtime.tensorrt import plugins
from mmedge.runtime.tensorrt.library import find_library
from mmedge.runtime.tensorrt.plugin_places import bundle_of, installed_plugins, plugin_files
from mmedge.runtime.tensorrt.plugins import (
    find_plugin,
    load_plugins,
    missing_plugin,
    plugins_wanted,
)
from mmedge.runtime.tensorrt.stamps import Here, mismatch
from mmedge.storage import sha256_file

NAME = "FusedAttention"
STAMP = f"plugin:{NAME}"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MMEDGE_PLUGINS", str(tmp_path / "installed"))
    return tmp_path / "installed"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "model.mmedge"


def library(root: Path, *, cuda: str = "13", capability: str = "8.7", text: str = "") -> Path:
    file = root / place_of(cuda, capability) / "libmmedge_attention.so"
    file.parent.mkdir(parents=True)
    file.write_text(text or str(file))
    return file


def test_the_bundle_s_come_first_and_newer_cuda_s(bundle: Path, installed: Path) -> None:
    mine = library(installed, cuda="13")
    old = library(bundle / "plugins", cuda="9")
    new = library(bundle / "plugins", cuda="12")
    library(bundle / "plugins", capability="8.9")
    other = bundle / "plugins" / "windows-amd64-cuda13-sm87" / mine.name
    other.parent.mkdir()
    other.touch()
    assert list(plugin_files(NAME, "8.7", bundle=bundle)) == [new, old, mine]
    assert list(plugin_files(NAME, "8.7", bundle=None)) == [mine]
    assert list(plugin_files("Other", "8.7", bundle=bundle)) == []


def test_where_the_user_s_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MMEDGE_PLUGINS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert installed_plugins() == tmp_path / "mmedge" / "plugins"
    assert bundle_of(tmp_path / "engines" / "vision.sm87.engine") == tmp_path


def test_an_engine_takes_the_library_of_its_stamp(bundle: Path, installed: Path) -> None:
    first = library(bundle / "plugins", text="one")
    second = library(installed, text="another")
    for file in (first, second):
        found = find_plugin(NAME, sha256_file(file), compute_capability="8.7", bundle=bundle)
        assert found == file
        stamps = {"tensorrt": "10.3.0", STAMP: sha256_file(file)}
        assert plugins_wanted(stamps) == {NAME: sha256_file(file)}
        assert missing_plugin(stamps, compute_capability="8.7", bundle=bundle) is None
    # Built with the twin: any library of this version has the same kernels.
    assert find_plugin(NAME, "1", compute_capability="8.7", bundle=bundle) == first


def test_one_that_is_not_here_is_named_with_the_command(bundle: Path) -> None:
    found = missing_plugin({STAMP: "1"}, compute_capability="8.7", bundle=bundle)
    assert found is not None
    assert found.why == f"it needs plugin {NAME} for compute capability 8.7, and it is not here"
    assert found.hint == "mmedge kernels build --plugin --compute-capability 8.7"


def test_another_build_of_it_is_not_taken(bundle: Path) -> None:
    file = library(bundle / "plugins")
    found = missing_plugin({STAMP: "ab" * 32}, compute_capability="8.7", bundle=bundle)
    assert found is not None
    assert f"{file} is another build of it" in found.why
    assert found.hint is not None
    assert "mmedge build" in found.hint


def test_a_stamp_that_differs_is_a_reason() -> None:
    here = Here({"tensorrt": "10.3.0"}, replace(GPU), None, plugins={NAME: "cd" * 32})
    why = mismatch({"tensorrt": "10.3.0", STAMP: "ab" * 32}, here)
    assert why is not None
    assert NAME in why


def test_it_is_missed_before_anything_is_deserialised(bundle: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    tensorrt = find_library("tensorrt_rtx", purpose="a test")
    with pytest.raises(MissingDependencyError, match="it needs plugin FusedAttention") as caught:
        load_plugins(tensorrt, {NAME: "1"}, compute_capability="8.7", bundle=bundle)
    assert "mmedge kernels build" in str(caught.value)
    load_plugins(tensorrt, {}, compute_capability="8.7", bundle=bundle)


def test_a_file_that_is_no_plugin(bundle: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    tensorrt = find_library("tensorrt_rtx", purpose="a test")
    file = library(bundle / "plugins")
    with pytest.raises(BuildError, match="does not bring plugin") as caught:
        load_plugins(tensorrt, {NAME: sha256_file(file)}, compute_capability="8.7", bundle=bundle)
    assert caught.value.details["where"] == file
    assert not plugins._loaded
