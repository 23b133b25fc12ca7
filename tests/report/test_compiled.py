"""A real compile's report: it renders, and the fixtures of these tests have its shape."""

from __future__ import annotations

from typing import Any

import pytest

from mmedge.report.html import render_html

pytestmark = pytest.mark.slow

MODEL = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(10, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return {"logits": self.head(self.encoder(x).relu())}

def build():
    return Model()
"""
PROJECT = """
name = "two_layers"
[model]
factory = "model:build"
weights = "weights.pt"
[inputs.x]
shape = ["batch", 10]
[recipe]
name = "submodules"
components = ["encoder"]
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import torch
    from torch import nn

    from mmedge.pipeline import compile_project

    directory = tmp_path_factory.mktemp("project")
    (directory / "model.py").write_text(MODEL)
    (directory / "mmedge.toml").write_text(PROJECT)
    model = nn.ModuleDict({"encoder": nn.Linear(10, 4), "head": nn.Linear(4, 2)})
    torch.save(model.state_dict(), directory / "weights.pt")
    return compile_project(
        directory,
        output=directory / "out.mmedge",
        cache=directory / "cache",
        threads=1,
        measure_seconds=0.2,
        allow_slower=True,
    )


def test_the_bundle_has_the_rendered_report(compiled: Any) -> None:
    assert (compiled.bundle / "report.html").read_text() == render_html(compiled.report)


def test_every_parameter_is_accounted_for(compiled: Any) -> None:
    text = render_html(compiled.report)
    assert "The listed layers hold all 54 parameters" in text


def test_fixture_reports_have_the_shape_of_a_real_one(compiled: Any, make_report: Any) -> None:
    assert _differences(compiled.report, make_report(components=2)) == []


# Keyed by names of the model's own or of libraries, which differ from project to project.
FREE = {"bindings", "outputs", "axes", "substitutes", "dtypes", "converted", "versions",
        "built_with", "operators", "facts", "golden_tolerance", "component_tolerance",
        "near_ties", "absent"}  # fmt: skip
# Component or output name -> something with keys of its own.
BY_NAME = (
    "verification.split", "verification.end_to_end", "verification.components",
    "verification.components.*", "measurement.components",
)  # fmt: skip


def _differences(real: Any, made: Any, path: str = "report") -> list[str]:
    """Where the keys of the fixture are not those of the real report."""
    if isinstance(real, list) and isinstance(made, list) and real and made:
        return _differences(real[0], made[0], f"{path}[0]")
    if not (isinstance(real, dict) and isinstance(made, dict)) or path.split(".")[-1] in FREE:
        return []
    if path.endswith(BY_NAME):
        return _differences(next(iter(real.values())), next(iter(made.values())), f"{path}.*")
    # msgspec leaves out an input's defaults.
    optional = {"preprocess"} if path.endswith("inputs[0]") else set()
    found = [f"{path}.{name}" for name in (set(real) ^ set(made)) - optional]
    for name in set(real) & set(made):
        found += _differences(real[name], made[name], f"{path}.{name}")
    return found
