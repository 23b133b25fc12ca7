"""What `mmedge init` writes for a checkpoint directory is the project that `compile` proposes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zoo
from hypothesis import given
from hypothesis import strategies as st

from mmedge.bundle.pack import check_shipped
from mmedge.data.samples import load_samples
from mmedge.errors import OutputError, ProjectError
from mmedge.project import Project, ProjectFile, load_project, project_from_mapping
from mmedge.proposed_text import proposed_text, write_proposed
from mmedge.proposing import Proposed, propose

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Checkpoint = Callable[[str], Path]

EVERY_FAMILY = (
    "clip", "clap", "siglip", "vilt", "owlvit", "grounding_dino", "layoutlmv3", "lxmert",
    "wav2vec2_ctc", "whisper", "blip_vqa", "donut", "git", "llava", "qwen2_vl", "owlv2",
)  # fmt: skip


def read_back(proposed: Proposed) -> ProjectFile:
    directory = proposed.project.directory
    return project_from_mapping(directory, tomllib.loads(proposed_text(proposed))).file


@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_the_text_is_exactly_the_project(checkpoint: Checkpoint, name: str) -> None:
    assert name in zoo.BUILDERS
    proposed = propose(checkpoint(name))
    assert read_back(proposed) == proposed.project.file
    comments = [line for line in proposed_text(proposed).splitlines() if line.startswith("#")]
    for reason in (*proposed.proposal.reasons, *proposed.processor.notes):
        assert any(reason in line for line in comments)


@pytest.fixture(scope="module")
def clip(checkpoint: Checkpoint) -> Proposed:
    return propose(checkpoint("clip"))


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_stays_what_it_is(clip: Proposed, text: str) -> None:
    """Names, values and remarks are taken from files, and may say anything."""
    file = msgspec.structs.replace(
        clip.project.file, recipe={"name": text, text or "x": [text, {text or "y": text}]}
    )
    odd = replace(
        clip,
        project=Project(clip.project.directory, file),
        proposal=replace(clip.proposal, reasons=(text,)),
        processor=replace(clip.processor, notes=(text,), reasons=(text,)),
    )
    assert read_back(odd) == file


def test_what_a_recipe_says_of_an_input_is_written(clip: Proposed) -> None:
    inputs = dict(clip.project.file.inputs)
    table = msgspec.structs.replace(inputs["pixel_values"], optional=True, preprocess={"kind": "x"})
    file = msgspec.structs.replace(clip.project.file, inputs={**inputs, "pixel_values": table})
    assert read_back(replace(clip, project=Project(clip.project.directory, file))) == file


@pytest.fixture
def copied(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """The checkpoint's files without the weights: nobody looks at them."""
    directory = tmp_path / "wav2vec2"
    directory.mkdir()
    for path in checkpoint("wav2vec2_ctc").iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


def test_a_written_project_has_the_same_recipe(copied: Path) -> None:
    proposed = propose(copied)
    written, text = write_proposed(copied)
    assert written == copied / "mmedge.toml"
    assert written.read_text(encoding="utf-8") == text
    assert load_project(copied).file == proposed.project.file
    with pytest.raises(OutputError, match="exists") as caught:
        write_proposed(copied)
    assert "--force" in str(caught.value)
    assert write_proposed(copied, force=True) == (written, text)


@pytest.mark.parametrize("name", ["clip", "owlv2"])
def test_a_project_elsewhere_is_the_same_project(
    checkpoint: Checkpoint, tmp_path: Path, name: str
) -> None:
    """Its weights, its tokenizer and what upstream reads are found from where the file lies."""
    directory = checkpoint(name)
    written, _ = write_proposed(directory, output=tmp_path / "mine.toml")
    assert not (directory / "mmedge.toml").exists()
    project, proposed = load_project(written), propose(directory).project
    assert project.path(project.file.model.weights).resolve() == directory
    assert msgspec.structs.replace(project.file, model=proposed.file.model) == proposed.file
    check_shipped(project)
    (own,), (theirs,) = (load_samples(p, "evaluation").groups for p in (project, proposed))
    for tensor in theirs:
        np.testing.assert_array_equal(own[tensor], theirs[tensor])


@pytest.fixture
def copied_clip(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint("clip"), tmp_path / "clip"))


def test_a_project_elsewhere_is_another_when_the_tokenizer_changes(
    copied_clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    written, _ = write_proposed(copied_clip, output=tmp_path / "elsewhere")
    assert written.name == "mmedge.toml"
    before = load_project(written).digest()
    assert load_project(written).digest() == before
    tokenizer = copied_clip / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    assert load_project(written).digest() != before


def test_a_file_of_the_projects_own_comes_first(copied_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    written, _ = write_proposed(copied_clip, output=tmp_path / "elsewhere")
    assert load_project(written).processor_directory.resolve() == copied_clip
    (written.parent / "tokenizer.json").write_text("{}")
    assert load_project(written).processor_directory == written.parent
    assert load_project(written).path("tokenizer.json").read_text() == "{}"


@pytest.mark.parametrize("place", ["absent/mine.toml", "notes.md", "taken.toml"])
def test_a_place_that_is_none(copied: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "taken.toml").write_text("mine")
    with pytest.raises(OutputError):
        write_proposed(copied, output=tmp_path / place)
    assert (tmp_path / "taken.toml").read_text() == "mine"


def test_an_adapter_has_no_project_beside_it(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Its processor files are those of its base model."""
    config = {"peft_type": "LORA", "base_model_name_or_path": str(checkpoint("clip"))}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ProjectError, match="adapter"):
        write_proposed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter_config.json"]
