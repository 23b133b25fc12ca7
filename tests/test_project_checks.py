"""What mmedge.toml may not say is refused, with the table that says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmedge.errors import ProjectError
from mmedge.project_checks import checked_file

WHERE = Path("here/mmedge.toml")
GOOD: dict[str, Any] = {
    "name": "good",
    "model": {"factory": "model:build"},
    "inputs": {
        "image": {"shape": ["batch", 3], "modality": "image"},
        "present": {"shape": ["batch"], "modality": "indicator", "indicates": "image"},
    },
}


def with_value(path: str, value: object) -> dict[str, Any]:
    """GOOD with one more value, at a dotted path."""
    *tables, key = path.split(".")
    data: dict[str, Any] = {k: dict(v) if isinstance(v, dict) else v for k, v in GOOD.items()}
    data["inputs"] = {name: dict(table) for name, table in GOOD["inputs"].items()}
    inner = data
    for table in tables:
        inner = inner.setdefault(table, {})
    inner[key] = value
    return data


def test_what_is_good_is_decoded() -> None:
    assert checked_file(GOOD, where=WHERE).inputs["present"].indicates == "image"


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("nmae", "name"),
        ("model.wieghts", "weights"),
        ("inputs.image.modalty", "modality"),
        ("outputs.logits.lables", "labels"),
        ("components.head.modul", "module"),
        ("data.evalution", "evaluation"),
        ("axes.batch.maximum", "max"),
    ],
)
def test_an_unknown_key_names_the_nearest(path: str, near: str) -> None:
    with pytest.raises(ProjectError, match="unknown key") as caught:
        checked_file(with_value(path, 1), where=WHERE)
    assert near in str(caught.value.details["try"])
    assert path.rpartition(".")[0] in caught.value.what
    assert "mmedge.toml" in str(caught.value.details["where"])


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("name", 3, "wrong type"),
        ("model", "w.pt", "wrong type"),
        ("inputs", [], "wrong type"),
        ("inputs.image.shape", 3, "wrong type"),
        ("inputs.image.shape", [1.5], "wrong type"),
        ("inputs.image.optional", "yes", "wrong type"),
        ("inputs.image.dtype", "flaot32", "unknown dtype"),
        ("inputs.image.modality", "picture", "unknown modality"),
        ("inputs.image.shape", ["batch", 0], "dimension below 1"),
        ("inputs.an-image", {"shape": [1]}, "not a Python argument name"),
        ("inputs.present.indicates", "imgae", "indicates an input that is not declared"),
        ("axes.batch", {"min": 4, "opt": 2, "max": 8}, "not ordered"),
        ("axes.batch", {"min": -1, "opt": 2, "max": 8}, "not ordered"),
        ("axes.batch", {"min": 4, "opt": 6, "max": 8, "step": 4}, "no multiples of its step"),
        ("axes.batch", {"min": 4, "opt": 4, "max": 8, "step": 0}, "no multiples of its step"),
        ("axes.btach", {"min": 1}, "in no input's shape"),
        ("schema", "1", "not a version"),
        ("schema", 0, "not a version"),
    ],
)
def test_an_impossible_value_is_refused(path: str, value: object, problem: str) -> None:
    with pytest.raises(ProjectError, match=problem):
        checked_file(with_value(path, value), where=WHERE)


def test_a_newer_schema_is_told_before_its_unknown_keys() -> None:
    data = {"schema": 2, "quantum": {}, **with_value("model.backbone", "x")}
    with pytest.raises(ProjectError, match="newer schema") as caught:
        checked_file(data, where=WHERE)
    assert "upgrade" in str(caught.value.details["try"])


def test_an_axis_of_one_size_is_to_be_written_as_a_number() -> None:
    data = {
        "name": "m",
        "inputs": {"x": {"shape": ["batch", 3]}},
        "axes": {"batch": {"min": 1, "opt": 1, "max": 1}},
    }
    with pytest.raises(ProjectError, match="one size only") as refused:
        checked_file(data, where=WHERE)
    assert "write 1 instead of 'batch'" in str(refused.value)


def test_an_input_without_axes_is_refused() -> None:
    with pytest.raises(ProjectError, match="has no axes"):
        checked_file({"name": "m", "inputs": {"x": {"shape": []}}}, where=WHERE)
