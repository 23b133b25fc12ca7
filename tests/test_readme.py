"""Every command and every Python example in the README runs, in the order a reader meets them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import tomllib

from mmedge.config import CompileConfig, merge
from mmedge.data.real_samples import real_samples
from mmedge.project import (
    ComponentTable,
    DataTable,
    InputTable,
    ModelTable,
    OutputTable,
    ProjectFile,
    project_from_mapping,
)

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str = TEXT) -> list[str]:
    lines = "".join(blocks("console", text)).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory in which the README's relative paths exist, and nothing else is written."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    # The user's own: a checkpoint of each kind, a photograph, a sound.
    samples = real_samples()
    (tmp_path / "photo.jpg").symlink_to(samples.images[0])
    (tmp_path / "speech.wav").symlink_to(samples.speech)
    return tmp_path


def environment(cache: Path) -> dict[str, str]:
    """cache: one for all chapters, as readers have one."""
    scripts = str(Path(sys.executable).parent)
    path = scripts + os.pathsep + os.environ["PATH"]
    return {**os.environ, "PATH": path, "MMEDGE_CACHE": str(cache)}


# Each goes on from what its own commands made.
CHAPTERS = re.split("\n## (?:Hugging Face checkpoints|NVIDIA GPUs and Jetsons)\n", TEXT)


@pytest.mark.slow
@pytest.mark.parametrize("chapter", range(len(CHAPTERS)))
def test_every_command_runs(
    chapter: int, checkout: Path, checkpoint: Callable[[str], Path], shared_cache: Path
) -> None:
    text, variables = CHAPTERS[chapter], environment(shared_cache)
    (checkout / "checkpoints").mkdir()
    assert len(commands(text)) >= 4
    for name in re.findall(r"compile checkpoints/(\w+)", text):
        (checkout / "checkpoints" / name).symlink_to(checkpoint(name))
    for command in commands(text):
        done = subprocess.run(
            command, shell=True, cwd=checkout, env=variables,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.strip(), f"{command} printed nothing"
    for number, code in enumerate(blocks("python", text)):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=checkout, env=variables,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"example {number}\n{done.stderr}"


def test_nothing_of_the_readme_is_in_no_chapter() -> None:
    assert len(CHAPTERS) == 3
    assert [command for text in CHAPTERS for command in commands(text)] == commands()


def test_every_command_of_the_command_line_is_shown() -> None:
    from mmedge.cli import COMMANDS

    shown = {command.split()[1] for command in commands()}
    assert shown == set(COMMANDS)


REFERENCE = (ROOT / "docs" / "project-file.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", blocks("toml") + blocks("toml", REFERENCE))
def test_the_project_files_shown_are_project_files(text: str) -> None:
    project = project_from_mapping(ROOT, tomllib.loads(text))
    assert project.name
    merge(project.file.compile, {}, where="docs")


def test_every_key_of_the_project_file_is_explained() -> None:
    tables = (ProjectFile, ModelTable, InputTable, OutputTable, ComponentTable, DataTable)
    keys = [field.encode_name for table in tables for field in msgspec.structs.fields(table)]
    keys += [field.encode_name for field in msgspec.structs.fields(CompileConfig)]
    assert [key for key in keys if not re.search(rf"\b{key}\b", REFERENCE)] == []


def test_files_that_the_readme_names_exist() -> None:
    named = re.findall(r"`((?:mmedge|export|tests|profiles|examples|docs)/[\w/.]+)`", TEXT)
    named += re.findall(r"\]\(([\w/.]+)\)", TEXT)
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing
