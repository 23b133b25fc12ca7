from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmedge.errors import CheckpointError, ExportError, MmedgeError, OutputError, ProjectError
from mmedge.pipeline import compile_project

WriteProject = Callable[..., Path]
RELU = "        return self.last(torch.relu(self.first(x)))"


@pytest.fixture
def project(tmp_path: Path, write_project: WriteProject) -> Path:
    return write_project(tmp_path / "project")


@pytest.fixture
def refused(tmp_path: Path, project: Path) -> Callable[..., MmedgeError]:
    """`refused(kind)`: the error of compiling the project, after which nothing is left."""

    def compile_it(kind: type[MmedgeError], **settings: Any) -> MmedgeError:
        with pytest.raises(kind) as caught:
            compile_project(
                project,
                output=tmp_path / "out.mmedge",
                cache=tmp_path / "cache",
                **{"measure_seconds": 0, "threads": 1, **settings},
            )
        assert not list(tmp_path.glob("*out*"))
        assert not list(tmp_path.glob("cache/.making-*"))
        return caught.value

    return compile_it


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def line_of(path: Path, text: str) -> str:
    lines = path.read_text().splitlines()
    return f"{path.name}:{next(i for i, line in enumerate(lines, 1) if text in line)}"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("last.bias"), "last.bias"),
        (lambda state: state.update({"extra.weight": torch.zeros(3)}), "extra.weight"),
        (lambda state: state.update({"last.weight": torch.zeros(3, 9)}), "[3, 9]"),
        (lambda state: state["last.bias"].fill_(float("nan")), "last.bias"),
    ],
)
def test_weights_that_do_not_fit_are_listed(
    project: Path, refused: Callable[..., MmedgeError], change: Callable[[Any], Any], named: str
) -> None:
    state = torch.load(project / "weights.pt")
    change(state)
    torch.save(state, project / "weights.pt")
    assert named in str(refused(CheckpointError))


def test_a_factory_that_raises(project: Path, refused: Callable[..., MmedgeError]) -> None:
    edit(project / "model.py", "return Plain()", 'raise RuntimeError("no luck")')
    error = refused(ProjectError)
    assert "no luck" in str(error)
    assert line_of(project / "model.py", "no luck") in str(error.details["where"])


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("[inputs.x]", "[inputs.y]", ""),
        ('["batch", 4]', '["batch", 5]', "self.first(x)"),
        ('["batch", 4]', '["batch"]', "self.first(x)"),
        ('["batch", 4]', '["batch", 4]\ndtype = "int64"', "self.first(x)"),
        ('["batch", 4]', '["batch", 4]\n[inputs.more]\nshape = [2]', ""),
        ('["batch", 4]', '["batch", 4]\n[recipe]\nname = "single_grap"', ""),
        ('["batch", 4]', '["batch", 4]\n[recipe]\nname = "submodules"\ncomponents = ["lats"]', ""),
        ('["batch", 4]', '["batch", 4]\n[outputs.y]\nlabels = "missing.json"', ""),
        ('["batch", 4]', '["batch", 4]\n[outputs.y]\nlabels = "../labels.json"', ""),
        ('["batch", 4]', '["batch", 4]\n[outputs.y]\nlabels = "weights.pt"', ""),
        ('["batch", 4]', '["batch", 4]\n[outputs.y]\nlabels = "two.json"', ""),
        ('["batch", 4]', '["batch", 4]\n[outputs.y]\nlabels = "report.json"', ""),
    ],
)
def test_a_project_that_does_not_fit_its_model(
    project: Path, refused: Callable[..., MmedgeError], old: str, new: str, where: str
) -> None:
    for name in ("two.json", "report.json", "../labels.json"):
        (project / name).write_text('["no", "yes"]')
    edit(project / "mmedge.toml", old, new)
    error = refused(ProjectError)
    if where:
        assert line_of(project / "model.py", where) in str(error)


def test_control_flow_on_values_names_the_line(
    project: Path, refused: Callable[..., MmedgeError]
) -> None:
    edit(project / "model.py", RELU, f"        if x.sum() > 0:\n            x = x + 1\n{RELU}")
    error = refused(ExportError)
    assert "control flow depends on the values" in error.what
    assert line_of(project / "model.py", "if x.sum()") in str(error.details["where"])
    assert "torch.where" in str(error.details["try"])


@pytest.mark.parametrize("setting", [{"opset": 3}, {"no_such_setting": 1}, {"target": "gpu9000"}])
def test_settings_that_are_none(
    refused: Callable[..., MmedgeError], setting: dict[str, Any]
) -> None:
    refused(ProjectError, **setting)


def test_an_output_that_is_not_ours(project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "manifest.json").write_text('{"manifest_version": 3}')
    for output in (
        tmp_path / "file",
        tmp_path / "file" / "out.mmedge",
        tmp_path / "thesis",
        project,
        tmp_path / ("x" * 300),
    ):
        with pytest.raises(OutputError):
            compile_project(project, output=output, measure_seconds=0)
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "thesis").iterdir()) == [tmp_path / "thesis" / "manifest.json"]
    assert (project / "model.py").is_file()


def test_a_fixed_batch_larger_than_the_set(project: Path, tmp_path: Path) -> None:
    edit(project / "mmedge.toml", '["batch", 4]', "[40, 4]")
    compiled = compile_project(
        project, output=tmp_path / "out.mmedge", measure_seconds=0, threads=1
    )
    assert compiled.report["verification"]["end_to_end"]["output"]["count"] == 40 * 3
