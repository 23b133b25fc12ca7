"""What every test may use: a cache of its own, a tiny model project, and its compiled bundle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import hypothesis
import pytest

from mmedge.artifact import Artifact
from mmedge.cache import StageCache
from mmedge.pipeline import Compiled, compile_project

pytest_plugins = ["sharing_cores"]

# Time is never asserted. On CI the examples are the same every time, so that a change is judged
# by itself; at a desk they are new ones at every run.
hypothesis.settings.register_profile(
    "mmedge", deadline=None, derandomize=bool(os.environ.get("CI"))
)
hypothesis.settings.load_profile("mmedge")

TINY_TOML = """
name = "tiny"

[model]
factory = "model:build"
weights = "weights.pt"

[inputs.image]
modality = "image"
shape = ["batch", 3, 12, 12]

[inputs.question]
modality = "text"
shape = ["batch", 5]
dtype = "int64"

[outputs.logits]
labels = "labels.json"

[recipe]
name = "submodules"
components = ["question_encoder", "image_encoder"]

[data]
evaluation = "data:samples"
metric = "accuracy/logits"
"""

TINY_MODEL = """
import torch
from torch import nn


class QuestionEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True)

    def forward(self, question):
        return self.lstm(self.embed(question))[1][0][-1]


class TinyVQA(nn.Module):
    def __init__(self):
        super().__init__()
        self.image_encoder = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.question_encoder = QuestionEncoder()
        self.head = nn.Linear(12, 5)

    def forward(self, image, question):
        features = [self.image_encoder(image), self.question_encoder(question)]
        logits = self.head(torch.cat(features, 1))
        return {"logits": logits, "answer": logits.argmax(-1)}


def build():
    return TinyVQA()
"""

TINY_DATA = """
import numpy as np


def samples():
    rng = np.random.default_rng(0)
    for target in range(6):
        image = rng.standard_normal((3, 12, 12)).astype("float32")
        yield {"image": image, "question": rng.integers(0, 20, 5)}, target % 5
"""

PLAIN_TOML = """
name = "plain"

[model]
factory = "model:build"
weights = "weights.pt"

[inputs.x]
shape = ["batch", 4]
"""

PLAIN_MODEL = """
import torch
from torch import nn


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def build():
    return Plain()
"""

SAVE_WEIGHTS = """
import sys, torch
sys.path.insert(0, ".")
import model
torch.manual_seed(0)
torch.save(model.build().state_dict(), "weights.pt")
"""

KINDS: dict[str, dict[str, str]] = {
    "tiny": {
        "mmedge.toml": TINY_TOML,
        "model.py": TINY_MODEL,
        "data.py": TINY_DATA,
        "labels.json": json.dumps(["no", "yes", "red", "blue", "two"]),
    },
    "plain": {"mmedge.toml": PLAIN_TOML, "model.py": PLAIN_MODEL},
}

# Code that makes the named libraries look as if they were not installed.
BLOCK = """
import sys


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Blocked())
"""

WriteProject = Callable[..., Path]
RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class TinySystem:
    """The tiny project, compiled, with the stage cache that it filled."""

    project: Path
    compiled: Compiled
    cache: Path

    @property
    def bundle(self) -> Path:
        return self.compiled.bundle


def pytest_configure() -> None:
    """A shell starts its background jobs with interrupts ignored; their children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test, nor a process it starts, sees the user's cache."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMEDGE_CACHE", str(directory))
        yield directory


@pytest.fixture(scope="session")
def _weighted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Each kind of project once, with weights."""
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            directory = tmp_path_factory.mktemp(kind) / "project"
            directory.mkdir()
            for name, text in KINDS[kind].items():
                (directory / name).write_text(text)
            subprocess.run([sys.executable, "-c", SAVE_WEIGHTS], cwd=directory, check=True)
            shutil.rmtree(directory / "__pycache__", ignore_errors=True)
            made[kind] = directory
        return made[kind]

    return get


@pytest.fixture(scope="session")
def write_project(_weighted: Callable[[str], Path]) -> WriteProject:
    """`write_project(directory, "tiny" or "plain", {"model.py": text})`: with weights."""

    def make(directory: Path, kind: str = "plain", files: Mapping[str, str] | None = None) -> Path:
        shutil.copytree(_weighted(kind), directory)
        for name, text in (files or {}).items():
            (directory / name).write_text(text)
        return directory

    return make


@pytest.fixture(scope="session")
def tiny_system(
    tmp_path_factory: pytest.TempPathFactory, write_project: WriteProject
) -> TinySystem:
    """The tiny project, compiled once. Not to be changed: `tiny_bundle` is a copy."""
    directory = tmp_path_factory.mktemp("system")
    project = write_project(directory / "project", "tiny")
    compiled = compile_project(
        project,
        output=directory / "tiny.mmedge",
        cache=directory / "cache",
        threads=1,
        measure_seconds=0,
    )
    return TinySystem(project, compiled, directory / "cache")


@pytest.fixture
def tiny_bundle(tiny_system: TinySystem, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be damaged."""
    return Path(shutil.copytree(tiny_system.bundle, tmp_path / "tiny.mmedge"))


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all processes of this run, each of which has its temporary directories in it."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def shared_cache(shared_directory: Path) -> Path:
    """Finished stages of checkpoints that several tests compile: what is exported, is once."""
    return shared_directory / "cache"


@pytest.fixture(scope="session")
def checkpoint(
    tmp_path_factory: pytest.TempPathFactory, shared_directory: Path
) -> Callable[[str], Path]:
    """`checkpoint("clip")`: the zoo's directory, written once. Not to be changed."""
    import torch
    import zoo

    torch.set_num_threads(1)

    @cache
    def written(name: str) -> Path:
        directory = shared_directory / "zoo" / name
        if not directory.exists():
            made = tmp_path_factory.mktemp("zoo") / name
            zoo.build(name, made)
            directory.parent.mkdir(exist_ok=True)
            with suppress(OSError):  # the other process was first
                made.rename(directory)
        return directory

    return written


@pytest.fixture(scope="session")
def built(tiny_system: TinySystem) -> Artifact:
    """The tiny artifact as the `build` stage left it."""
    store = StageCache(tiny_system.cache)
    key = next(entry.key for entry in store.entries() if entry.stage == "build")
    artifact = store.load(key)
    assert artifact is not None
    return artifact


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """`run_python(code, *arguments, without=["torch"])`: a new interpreter, some libraries gone."""

    def run(
        code: str, *arguments: object, without: list[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        text = BLOCK.format(names=set(without)) + code if without else code
        command = [sys.executable, "-c", text, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture(scope="session")
def run_mmedge() -> RunPython:
    """`run_mmedge("inspect", path)`: the command in a process of its own."""

    def run(
        *arguments: object, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mmedge", *map(str, arguments)]
        environment = {**os.environ, **(env or {})}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)

    return run
