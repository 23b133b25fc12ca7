from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmedge.errors import ProjectError
from mmedge.project import load_project, project_from_mapping
from mmedge.recipes import ComponentModule
from mmedge.tensors import Axis

GOOD: dict[str, Any] = {
    "name": "good",
    "model": {"factory": "model:build", "weights": "w.pt"},
    "inputs": {
        "image": {"shape": ["batch", 3], "modality": "image"},
        "present": {"shape": ["batch"], "modality": "indicator", "indicates": "image"},
    },
}
PROJECT_TOML = 'name = "other"\n[inputs.x]\nshape = ["batch", {size}]\n'


@pytest.fixture
def module(tmp_path: Path) -> Callable[..., Any]:
    """`module("name", **files)` makes a project with these Python files."""

    def make(name: str, **files: str) -> Any:
        directory = tmp_path / name
        for file, text in files.items():
            path = directory / f"{file.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return project_from_mapping(directory, GOOD)

    return make


def test_a_good_project() -> None:
    project = project_from_mapping(Path("here"), GOOD)
    assert project.name == "good"
    assert project.axes() == {"batch": Axis()}
    assert [item.indicates for item in project.model_inputs()] == [None, "image"]


def test_what_is_not_a_project(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="not a model project") as caught:
        load_project(tmp_path)
    assert "mmedge init" in str(caught.value.details["try"])
    with pytest.raises(ProjectError, match="does not exist"):
        load_project(tmp_path / "missing")


def test_errors_name_the_file_that_was_read(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("nmae = 1")
    with pytest.raises(ProjectError) as caught:
        load_project(tmp_path / "other.toml")
    assert str(caught.value.details["where"]).endswith("other.toml")


def test_a_missing_file_of_the_project(tmp_path: Path) -> None:
    project = project_from_mapping(tmp_path, GOOD)
    with pytest.raises(ProjectError, match=r"'w.pt' is named in mmedge.toml"):
        project.path("w.pt")


def test_two_projects_with_modules_of_one_name(module: Callable[..., Any]) -> None:
    first = module(
        "first",
        model="from layers.block import A\ndef build(): return A",
        **{"layers__block": "A = 'first'"},
    )
    second = module(
        "second",
        model="from layers.block import A\ndef build(): return A",
        **{"layers__block": "A = 'second'"},
    )
    for project, name in ((first, "first"), (second, "second"), (first, "first")):
        assert project.load_callable("model:build")() == name


def test_a_project_module_wins_over_an_installed_one(module: Callable[..., Any]) -> None:
    import colorsys

    try:
        project = module("own", colorsys="def build(): return 'own'")
        assert project.load_callable("colorsys:build")() == "own"
    finally:
        sys.modules["colorsys"] = colorsys


def test_a_directory_named_like_a_library_unloads_nothing(module: Callable[..., Any]) -> None:
    import numpy
    import onnx

    project = module("data", model="import numpy, onnx\ndef build(): return numpy, onnx")
    for name in ("numpy", "onnx"):
        (project.directory / name).mkdir()
    assert project.load_callable("model:build")() == (numpy, onnx)


@pytest.mark.parametrize(
    ("reference", "source", "problem"),
    [
        ("model", "", "does not name a function"),
        (":build", "", "does not name a function"),
        ("other:build", "", "no module 'other' in the project"),
        ("pkg.sub.other:build", "", "no module 'pkg.sub.other' in the project"),
        ("model:build", "", "has no function 'build'"),
        ("model:build", "build = 3", "has no function 'build'"),
        ("model:biuld", "def build(): pass", "has no function 'biuld'"),
        ("model:build", "import no_such_library", "imports 'no_such_library'"),
        ("model:build", "def build(: pass", "could not be imported"),
        ("model:build", "1 / 0", "could not be imported"),
        ("model:build", "import sys; sys.exit(2)", "could not be imported"),
    ],
)
def test_a_function_that_is_not_there(
    module: Callable[..., Any], reference: str, source: str, problem: str
) -> None:
    project = module("broken", model=source, pkg__sub__x="")
    with pytest.raises(ProjectError, match=problem):
        project.load_callable(reference)
    assert str(project.directory) not in sys.path


def test_the_digest_covers_every_file(tmp_path: Path) -> None:
    (tmp_path / "mmedge.toml").write_text(PROJECT_TOML.format(size=3))
    (tmp_path / "other.toml").write_text(PROJECT_TOML.format(size=4))
    (tmp_path / "deep").mkdir()
    seen = {load_project(tmp_path).digest()}

    def is_new() -> bool:
        digest = load_project(tmp_path).digest()
        new = digest not in seen
        seen.add(digest)
        return new

    assert not is_new()
    for name in ("model.py", "deep/layer.py", "labels.json"):
        (tmp_path / name).write_text("1")
        assert is_new(), name
        (tmp_path / name).write_text("2")
        assert is_new(), name
    (tmp_path / "model.py").rename(tmp_path / "renamed.py")
    assert is_new()
    for name in ("__pycache__/model.pyc", "deep/__pycache__/x.pyc", ".git/HEAD", "out.mmedge/m"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
        assert not is_new(), name


def test_the_digest_tells_project_files_of_one_directory_apart(tmp_path: Path) -> None:
    for name, size in (("mmedge", 3), ("other", 4)):
        (tmp_path / f"{name}.toml").write_text(PROJECT_TOML.format(size=size))
    assert load_project(tmp_path).digest() != load_project(tmp_path / "other.toml").digest()


def test_the_digest_follows_links_once(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "layer.py").write_text("1")
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "layers").symlink_to(shared)
    (shared / "loop").symlink_to(directory)
    project = project_from_mapping(directory, GOOD)
    before = project.digest()
    (shared / "layer.py").write_text("2")
    assert project.digest() != before


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", "a.b", "-a", "a\n"])
def test_a_component_name_is_a_file_name(name: str) -> None:
    import torch

    with pytest.raises(ProjectError, match="cannot be the name of a component"):
        ComponentModule(name, torch.nn.Identity(), {"x": "x"}, ("y",))
