from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmedge.errors import DataError, ProjectError
from mmedge.project import load_project
from mmedge.verify.task import Metric, accuracy, evaluate, exact_match, load_metric

SCORES = np.array([[9.0, 1, 0], [0, 9, 1], [0, 1, 9]])
TOKENS = np.array([[4, 5, 0], [6, 0, 0]])


@pytest.mark.parametrize(
    "targets", [[0, 1, 0], list(np.array([0, 1, 0])), [np.array([0]), np.array([1]), np.array(0)]]
)
def test_accuracy_is_the_share_of_right_classes(targets: list[Any]) -> None:
    assert accuracy(SCORES, targets) == pytest.approx(2 / 3)


@pytest.mark.parametrize("bad", [17, 3, -1, 0.5, 1.0, "cat", [0, 1], None])
def test_a_target_that_is_no_class_is_named(bad: object) -> None:
    with pytest.raises(DataError, match="is not a class") as caught:
        accuracy(SCORES, [0, bad, 1])
    assert repr(bad) in caught.value.what
    assert "sample 1" in str(caught.value)
    assert "0..2" in str(caught.value)


def test_rows_of_unequal_length() -> None:
    assert accuracy([row[: 2 + i] for i, row in enumerate(SCORES[:2])], [0, 1]) == 1
    assert exact_match([TOKENS[0], TOKENS[1][:1]], [[4, 5], [7]]) == 0.5


@pytest.mark.parametrize("bad", [[], [0.5], [6, -100], "word"])
def test_a_target_that_is_no_token_sequence_is_named(bad: object) -> None:
    with pytest.raises(DataError, match="is not a token sequence"):
        exact_match(TOKENS, [[4, 5], bad])


def test_a_class_for_each_step_is_more_than_accuracy_compares() -> None:
    steps = [np.zeros((5, 3)), np.zeros((7, 3))]
    with pytest.raises(DataError, match="2 targets and the outputs steps: 2 arrays of unequal"):
        evaluate(lambda o, t: accuracy(o["steps"], t), {"steps": steps}, [0, 1])


def metric_of(write_project: Callable[..., Path], directory: Path, name: str) -> Metric:
    """What a project makes of `metric = name`."""
    project = write_project(directory)
    file = project / "mmedge.toml"
    file.write_text(file.read_text() + f'\n[data]\nmetric = "{name}"\n')
    loaded = load_metric(load_project(project))
    assert loaded is not None
    assert loaded[0] == name
    return loaded[1]


OUTPUTS: dict[str, Any] = {"image": np.eye(2), "text": np.eye(2)[::-1], "same": np.eye(2)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 1.0),
        ("accuracy/text", 0.0),
        ("recall_at_1", 0.0),
        ("recall_at_1/image/same", 1.0),
        ("recall_at_1/text/same", 0.0),
    ],
)
def test_a_metric_reads_the_outputs_it_names_else_the_first_ones(
    name: str, expected: float, write_project: Callable[..., Path], tmp_path: Path
) -> None:
    assert metric_of(write_project, tmp_path / "it", name)(OUTPUTS, [0, 1]) == expected


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("recall_at_1/image", "reads 2 outputs"),
        ("recal_at_1", "recall_at_1"),
        ("acuracy/image", "accuracy"),
    ],
)
def test_a_metric_that_cannot_be_is_refused_before_the_work(
    name: str, says: str, write_project: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ProjectError, match=says):
        metric_of(write_project, tmp_path / "it", name)


@pytest.mark.parametrize(
    ("name", "outputs", "says"),
    [
        ("recall_at_1/image/txt", OUTPUTS, "reads output 'txt'"),
        ("recall_at_1", {"image": np.eye(2)}, "reads 2 outputs"),
    ],
)
def test_an_output_that_is_not_there_is_told(
    name: str,
    outputs: dict[str, Any],
    says: str,
    write_project: Callable[..., Path],
    tmp_path: Path,
) -> None:
    metric = metric_of(write_project, tmp_path / "it", name)
    with pytest.raises(ProjectError, match=says):
        evaluate(metric, outputs, [0, 1])
