from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from mmedge_export import single_graph
from onnx import numpy_helper

from mmedge.artifact import Artifact
from mmedge.errors import DataError, ProjectError, VerificationError
from mmedge.graph import stages
from mmedge.pipeline import compile_project, live_model
from mmedge.project import DataTable, Project
from mmedge.recipes import Split
from mmedge.stage import Samples, Workspace
from mmedge.verify.stages import Verify

WriteProject = Callable[..., Path]

METRICS = """
def nan(outputs, targets):
    return float("nan")


def several(outputs, targets):
    return [0.5, 0.5]


def text(outputs, targets):
    return "good"


def nothing(outputs, targets):
    return None


def raising(outputs, targets):
    return outputs["no_such_output"]


def falling(outputs, targets, calls=[]):
    calls.append(1)
    return 1.0 / len(calls)


def empty():
    return []


def without_targets():
    return [inputs for inputs, _ in pairs()]


def some_targets():
    return [(inputs, target) if target else inputs for inputs, target in pairs()]


def nested_targets():
    return [(inputs, [target, target]) for inputs, target in pairs()]


def pairs():
    from data import samples
    return list(samples())
"""


@pytest.fixture(scope="module")
def workspace(tiny_system: Any, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    directory = tmp_path_factory.mktemp("metrics") / "project"
    shutil.copytree(tiny_system.project, directory)
    (directory / "metrics.py").write_text(METRICS)
    return live_model(tiny_system.bundle, directory, 1, lambda line: None)


@pytest.fixture
def verify(built: Artifact, tmp_path: Path) -> Callable[..., Artifact]:
    def run(workspace: Workspace, artifact: Artifact = built) -> Artifact:
        stage = Verify()
        done = stage.run(artifact, workspace, tmp_path)
        stage.ensures(done)
        return done

    return run


def with_data(workspace: Workspace, **fields: str) -> Workspace:
    """The workspace with another [data] table."""
    file = workspace.project.file
    data: DataTable = msgspec.structs.replace(file.data, **fields)
    project = Project(workspace.project.directory, msgspec.structs.replace(file, data=data))
    return dataclasses.replace(
        workspace,
        project=project,
        load_samples=lambda purpose: stages_samples(project, purpose),
    )


def stages_samples(project: Project, purpose: str) -> Samples:
    from mmedge.data.samples import load_samples

    return load_samples(project, purpose)


def damaged(artifact: Artifact, component: str, to: Path, change: Callable[..., Any]) -> Artifact:
    """The artifact with one float weight of a component's engine changed."""
    engine = artifact.engines[component]
    model = onnx.load(engine.path)
    weight = max(
        (w for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT),
        key=lambda w: int(np.prod(w.dims)),
    )
    array = numpy_helper.to_array(weight).copy()
    weight.CopyFrom(numpy_helper.from_array(change(array), weight.name))
    path = to / Path(engine.path).name
    onnx.save(model, path)
    changed = msgspec.structs.replace(engine, path=str(path))
    return msgspec.structs.replace(artifact, engines={**artifact.engines, component: changed})


def test_equal_engines_pass_with_a_record(
    verify: Callable[..., Artifact], workspace: Workspace
) -> None:
    done = verify(workspace)
    record = done.records["verify"]
    assert record["real_inputs"] is True
    assert record["task"]["before"] == record["task"]["after"]
    assert set(record["components"]) == {"question_encoder", "image_encoder", "fusion"}
    with np.load(str(done.golden)) as golden:
        assert set(golden.files) == {
            *("input:image", "input:question", "output:logits", "output:answer"),
        }


@pytest.mark.parametrize(
    ("component", "module"),
    [
        ("image_encoder", "image_encoder.0"),
        ("question_encoder", "question_encoder"),
        ("fusion", "head"),
    ],
)
def test_a_changed_weight_names_the_module(
    verify: Callable[..., Artifact],
    workspace: Workspace,
    built: Artifact,
    tmp_path: Path,
    component: str,
    module: str,
) -> None:
    wrong = damaged(built, component, tmp_path, lambda array: array + 1e-2)
    with pytest.raises(VerificationError, match=repr(component)) as caught:
        verify(workspace, wrong)
    assert caught.value.exit_code == 6
    assert f"module '{module}" in str(caught.value.details["where"])
    assert "moved by" in str(caught.value.details["found"])


def test_an_engine_that_gives_nan(
    verify: Callable[..., Artifact], workspace: Workspace, built: Artifact, tmp_path: Path
) -> None:
    wrong = damaged(built, "fusion", tmp_path, lambda array: array * np.float32("nan"))
    with pytest.raises(VerificationError, match="'fusion'") as caught:
        verify(workspace, wrong)
    assert "became NaN or infinite" in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "kind", "problem"),
    [
        ("metrics:nan", DataError, "finite number"),
        ("metrics:several", DataError, "finite number"),
        ("metrics:text", DataError, "metric failed on 6 targets"),
        ("metrics:nothing", DataError, "finite number"),
        ("metrics:raising", DataError, "no_such_output"),
        ("metrics:falling", VerificationError, "fell from 1.0000 to 0.5000"),
        ("metrics:missing", ProjectError, "has no function"),
        ("acuracy", ProjectError, "there is no metric"),
        ("accuracy/logit", ProjectError, "which the model does not have"),
        ("exact_match/logits", None, ""),
    ],
)
def test_metrics(
    verify: Callable[..., Artifact],
    workspace: Workspace,
    metric: str,
    kind: type[Exception] | None,
    problem: str,
) -> None:
    judged = with_data(workspace, metric=metric)
    if kind is None:
        assert verify(judged).records["verify"]["task"]["metric"] == metric
        return
    with pytest.raises(kind) as caught:
        verify(judged)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("loader", "problem"),
    [
        ("metrics:empty", "returned no samples"),
        ("metrics:without_targets", "have no targets"),
        ("metrics:some_targets", "only some samples"),
        ("metrics:nested_targets", "is not a class"),
        ("metrics:raising", "data loader metrics:raising failed"),
        ("", "have no targets"),
    ],
)
def test_evaluation_sets(
    verify: Callable[..., Artifact], workspace: Workspace, loader: str, problem: str
) -> None:
    with pytest.raises(DataError) as caught:
        verify(with_data(workspace, evaluation=loader, metric="accuracy/logits"))
    assert problem in str(caught.value)


def test_a_recipe_that_is_wrong_by_a_hundredth(
    tmp_path: Path, write_project: WriteProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    class Wrong(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            made = self.inner(*tensors)
            result: torch.Tensor = made[0] if isinstance(made, tuple) else made
            return result * 1.01

    class WrongRecipe:
        def split(self, *arguments: Any) -> Split:
            split = single_graph.recipe.split(*arguments)
            components = tuple(
                dataclasses.replace(c, module=Wrong(c.module)) for c in split.components
            )
            return dataclasses.replace(split, components=components)

    monkeypatch.setattr(stages, "load_recipe", lambda name: WrongRecipe())
    with pytest.raises(VerificationError, match="do not compute what forward computes"):
        compile_project(
            write_project(tmp_path / "project"),
            output=tmp_path / "out.mmedge",
            cache=tmp_path / "cache",
            threads=1,
            measure_seconds=0,
        )
    assert not (tmp_path / "out.mmedge").exists()


def test_a_model_that_gives_nan_itself(tmp_path: Path, write_project: WriteProject) -> None:
    project = write_project(tmp_path / "project")
    source = (project / "model.py").read_text()
    (project / "model.py").write_text(
        source.replace("return self.last(", "return self.last(-x.abs().mean().log() / 0 * 0 + ")
    )
    with pytest.raises(VerificationError) as caught:
        compile_project(project, output=tmp_path / "out.mmedge", threads=1, measure_seconds=0)
    assert "NaN" in str(caught.value)
