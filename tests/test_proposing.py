"""Checkpoint directories: which recipe takes them, what each says, and the way out of a refusal."""

from __future__ import annotations

import json
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmedge.checkpoint.load import load_model
from mmedge.data.processed import samples_of_processor, samples_of_upstream
from mmedge.data.samples import load_samples
from mmedge.data.upstream import upstream_tensors
from mmedge.errors import CheckpointError, DataError, InputError, MmedgeError, ProjectError
from mmedge.pipeline import compile_project
from mmedge.proposing import LAST, is_bare_checkpoint, propose
from mmedge.recipes import available_recipes, load_recipe

Checkpoint = Callable[[str], Path]
WriteProject = Callable[..., Path]

RECIPES = {
    "clip": "hf_dual_encoder",
    "clap": "hf_dual_encoder",
    "vilt": "hf_single_pass",
    "owlvit": "hf_single_pass",
    "wav2vec2_ctc": "hf_single_pass",
    "whisper": "hf_sequence_to_sequence",
    "blip_vqa": "hf_sequence_to_sequence",
    "git": "hf_prefix_decoder",
    "llava": "hf_multimodal_decoder",
    "qwen2_vl": "hf_multimodal_decoder",
}
PROCESSOR_FILES = (
    "*processor*.json",
    "tokenizer*",
    "special_tokens*",
    "vocab*",
    "merges*",
    "*.txt",
)


@pytest.fixture
def changed(checkpoint: Checkpoint, tmp_path: Path) -> Callable[[str], Path]:
    """`changed("clip")`: a copy of the zoo's, to be changed."""
    return lambda name: Path(shutil.copytree(checkpoint(name), tmp_path / name))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def without_processor(directory: Path) -> Path:
    for pattern in PROCESSOR_FILES:
        for path in directory.glob(pattern):
            path.unlink()
    return directory


@pytest.mark.parametrize("name", RECIPES)
def test_each_family_is_recognised_and_all_is_told(checkpoint: Checkpoint, name: str) -> None:
    found = propose(checkpoint(name))
    assert found.recipe == RECIPES[name]
    assert found.proposal.reasons
    assert (
        found.architecture
        in json.loads((found.project.directory / "config.json").read_text())["architectures"]
    )
    asked = [*found.refused, found.recipe]
    assert asked == [name for name in LAST if name in asked], "asked in the order of LAST"
    assert all(found.refused.values())
    assert found.raw_inputs()
    assert found.processor.reason is None


@pytest.mark.parametrize("name", ["clip", "wav2vec2_ctc", "blip_vqa", "whisper", "smolvlm", "git"])
def test_the_components_told_are_those_that_are_made(checkpoint: Checkpoint, name: str) -> None:
    found = propose(checkpoint(name))
    project = found.project
    example = {k: torch.from_numpy(v) for k, v in samples_of_processor(project).first(2).items()}
    options = {k: v for k, v in project.file.recipe.items() if k != "name"}
    split = load_recipe(found.recipe).split(load_model(project).model, project, options, example)
    assert found.proposal.components == tuple(part.name for part in split.components)


def test_every_recipe_of_ours_has_its_place() -> None:
    """One that is not in LAST would be asked before those of third parties."""
    ours = {n for n, where in available_recipes().items() if where.startswith("mmedge_export.")}
    assert {name for name in ours if hasattr(load_recipe(name), "propose")} == set(LAST)


THIRD_PARTY = """
from mmedge.recipes import Proposal


class Recipe:
    def propose(self, view):
        if view.config.model_type != "clip":
            return "it is no CLIP"
        return Proposal("theirs", {}, {}, {"own": 1}, ("because",))

    def split(self, model, project, options, example):
        raise NotImplementedError


recipe = Recipe()
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a recipe, found as an installed one is."""
    packages = tmp_path / "site"
    (packages / "theirs-1.0.dist-info").mkdir(parents=True)
    (packages / "their_recipes.py").write_text(THIRD_PARTY)
    (packages / "theirs-1.0.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1.0\n")
    entry = "[mmedge.recipes]\nzz_theirs = their_recipes:recipe\n"
    (packages / "theirs-1.0.dist-info" / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(packages))


@pytest.mark.usefixtures("third_party")
def test_recipes_of_third_parties_are_asked_first(checkpoint: Checkpoint) -> None:
    found = propose(checkpoint("clip"))
    assert (found.recipe, found.refused) == ("zz_theirs", {})
    assert found.project.file.recipe == {"name": "zz_theirs", "own": 1}
    refused = propose(checkpoint("wav2vec2_ctc")).refused
    assert next(iter(refused.items())) == ("zz_theirs", "it is no CLIP")


def test_a_processor_that_mmedge_does_not_know(checkpoint: Checkpoint) -> None:
    """Upstream's own makes the tensors; the reason is told."""
    found = propose(checkpoint("owlv2"))
    assert found.processor.reason == (
        "the processor Owlv2Processor is not known to mmedge: pass the tensors themselves"
    )
    assert found.raw_inputs() == []
    file = found.project.file
    assert (file.processor, file.data.upstream) == ({}, True)
    made = upstream_tensors(checkpoint("owlv2"))
    samples = samples_of_upstream(found.project)
    assert samples.real
    assert "transformers' processor" in samples.origin
    assert list(samples.groups[0]) == list(file.inputs)
    for name, array in samples.groups[0].items():
        np.testing.assert_array_equal(array, made[name])
        assert array.dtype == file.inputs[name].dtype


def test_samples_for_a_processor_that_is_not_known(checkpoint: Checkpoint, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "own.png")
    with pytest.raises(DataError, match="nothing converts the samples") as caught:
        propose(checkpoint("owlv2"), samples=(str(tmp_path / "own.png"),))
    assert "Owlv2Processor" in str(caught.value)
    assert "without --sample" in str(caught.value)
    assert ".npz" in str(caught.value)


def test_without_processor_files_the_way_out_is_told(changed: Callable[[str], Path]) -> None:
    directory = without_processor(changed("clip"))
    with pytest.raises(ProjectError, match="no recipe takes CLIPModel") as caught:
        propose(directory)
    text = str(caught.value)
    assert all(f"{name}: " in text for name in LAST)
    assert "AutoTokenizer.from_pretrained" in text
    assert "--sample tensors.npz" in text
    assert "pixel_values: float32[batch, 3, 32, 32]" in text
    assert "mmedge init" not in text, "that would guess what is asked for here"


def test_tensors_of_the_model_are_the_way_out(
    checkpoint: Checkpoint, changed: Callable[[str], Path], tmp_path: Path
) -> None:
    """Another recipe, other axes or another set than with the processor's would be a surprise."""
    usual = propose(checkpoint("clip"))
    made = samples_of_processor(usual.project).groups[0]
    np.savez(tmp_path / "own.npz", **made)
    found = propose(without_processor(changed("clip")), samples=(str(tmp_path / "own.npz"),))
    assert (found.recipe, found.proposal.axes) == (usual.recipe, usual.proposal.axes)
    assert found.project.file.inputs == usual.project.file.inputs
    assert (found.raw_inputs(), found.project.file.data.upstream) == ([], False)
    samples = load_samples(found.project, "evaluation")
    assert (samples.real, samples.origin) == (True, "--sample (tensors)")
    for name, array in made.items():
        np.testing.assert_array_equal(samples.groups[0][name], array)


def test_tensors_of_one_modality_are_not_enough(
    changed: Callable[[str], Path], tmp_path: Path
) -> None:
    np.savez(tmp_path / "own.npz", pixel_values=np.zeros((2, 3, 32, 32), np.float32))
    directory = without_processor(changed("clip"))
    with pytest.raises(ProjectError, match="no recipe takes CLIPModel") as caught:
        propose(directory, samples=(str(tmp_path / "own.npz"),))
    assert "no sample of its text input is known" in str(caught.value)


def test_a_model_is_not_compiled_for_one_of_its_modalities(changed: Callable[[str], Path]) -> None:
    """Nobody can read this tokenizer: images alone are not what the model takes."""
    directory = changed("clip")
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(ProjectError, match="no recipe takes CLIPModel") as caught:
        propose(directory)
    assert "tokenizer.json cannot be read" in str(caught.value)
    assert "no sample of its text input is known" in str(caught.value)


def test_a_tokenizer_that_only_upstream_reads(changed: Callable[[str], Path]) -> None:
    """Old files: the tensors of both modalities are upstream's, and the reason is told."""
    directory = changed("clip")
    model = json.loads((directory / "tokenizer.json").read_text())["model"]
    (directory / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = (pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"])
    (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (directory / "tokenizer.json").unlink()
    found = propose(directory)
    assert found.recipe == "hf_dual_encoder"
    assert "tokenizer.json is missing" in str(found.processor.reason)
    assert found.project.file.data.upstream
    assert found.raw_inputs() == []


def edit_images(directory: Path, **values: Any) -> None:
    """Changes what processor_config.json says of images."""
    path = directory / "processor_config.json"
    images = json.loads(path.read_text())["image_processor"]
    edit(path, image_processor={**images, **values})


def test_a_processor_that_refuses_the_bundled_samples(changed: Callable[[str], Path]) -> None:
    """Grey images alone: upstream's refuses colour too, and the sample and the reason are told."""
    directory = changed("clip")
    assert propose(directory).recipe == "hf_dual_encoder"
    edit_images(directory, image_mean=[0.5], image_std=[0.5])
    with pytest.raises(ProjectError, match="no recipe takes CLIPModel") as caught:
        propose(directory)
    told = str(caught.value)
    assert "hf_dual_encoder: no sample of its image input is known" in told
    assert "the processor does not take sample 0 of bundled photographs" in told
    assert "another number of channels than the model: 3" in told
    assert "--sample tensors.npz" in told


def test_a_processor_that_refuses_the_users_sample(
    changed: Callable[[str], Path], tmp_path: Path
) -> None:
    """Nothing else is tried then: the user wants this one."""
    directory = changed("clip")
    edit_images(directory, image_mean=[0.5], image_std=[0.5])
    Image.new("RGB", (40, 30)).save(tmp_path / "red.png")
    with pytest.raises(DataError, match="does not take sample 0 of --sample") as caught:
        propose(directory, samples=(str(tmp_path / "red.png"),))
    assert caught.value.details["expected"] == 1, "channels"


def test_an_impossible_option_of_the_processor_is_named(changed: Callable[[str], Path]) -> None:
    directory = changed("clip")
    edit_images(directory, crop_size={"height": 0, "width": 0})
    with pytest.raises(ProjectError, match="a value has the wrong type") as caught:
        propose(directory)
    assert "`$.crop.height`" in str(caught.value.details["found"])


def test_what_is_a_bare_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert is_bare_checkpoint(checkpoint("clip"))
    assert not is_bare_checkpoint(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert is_bare_checkpoint(tmp_path)
    (tmp_path / "mmedge.toml").write_text("")
    assert not is_bare_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"architectures": ["NoSuchModel"]}, CheckpointError),
        ({"architectures": []}, CheckpointError),
        ({"architectures": ["CLIPTextConfig"]}, MmedgeError),
        ({"model_type": "nosuch"}, CheckpointError),
    ],
    ids=str,
)
def test_a_config_that_names_no_model(
    changed: Callable[[str], Path], values: dict[str, Any], kind: type[MmedgeError]
) -> None:
    directory = changed("clip")
    edit(directory / "config.json", **values)
    with pytest.raises(kind):
        propose(directory)


def test_an_adapter_is_proposed_in_its_base_models_directory(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    base = checkpoint("clip")
    (tmp_path / "adapter").mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(base)}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    project = propose(tmp_path / "adapter").project
    assert project.directory == base.resolve()
    assert project.name == "adapter"
    assert project.path(project.file.model.weights).resolve() == tmp_path / "adapter"


def write_sound(path: Path, *, rate: int, seconds: float = 1.5) -> Path:
    wave_form = 0.3 * np.sin(np.arange(int(rate * seconds)) * 0.05)
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes((wave_form * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], Path]:
    """`own("cat.png")`: one of the user's files."""
    folder = tmp_path / "own"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (37, 53, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "cat.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(folder / "tall.JPG")
    write_sound(folder / "right.wav", rate=16_000)
    write_sound(folder / "wrong.wav", rate=8_000)
    (folder / "texts.txt").write_text("a cat\na dog\n")
    (folder / "all.json").write_text(json.dumps([{"image": "cat.png", "text": "a cat"}]))
    (folder / "all.jsonl").write_text(json.dumps({"image": "tall.JPG", "text": "a dog"}))
    (folder / "not.png").write_text("no picture")
    (folder / "not.wav").write_text("no sound")
    (folder / "lost.json").write_text(json.dumps([{"image": "lost.png", "text": "a cat"}]))
    (folder / "odd.json").write_text(json.dumps([{"image": "cat.png", "text": 5}]))
    (folder / "broken.json").write_text("[{")
    (folder / "empty.txt").write_text("")
    return lambda name: folder / name


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("clip", "cat.png"),
        ("clip", "tall.JPG"),
        ("clip", "texts.txt"),
        ("clip", "all.json"),
        ("clip", "all.jsonl"),
        ("owlvit", "texts.txt"),
        ("wav2vec2_ctc", "right.wav"),
    ],
)
def test_a_sample_of_every_kind(
    checkpoint: Checkpoint, own: Callable[[str], Path], name: str, file: str
) -> None:
    bundled, found = (
        propose(checkpoint(name), samples=samples) for samples in ((), (str(own(file)),))
    )
    assert found.recipe == bundled.recipe
    assert found.project.file.data.samples == (str(own(file).resolve()),)
    usual, samples = (samples_of_processor(p.project) for p in (bundled, found))
    assert samples.real
    assert samples.origin.startswith("--sample")
    assert list(samples.groups[0]) == list(usual.groups[0])
    changed = [
        name
        for name, array in samples.groups[0].items()
        if array[:1].shape != usual.groups[0][name][:1].shape
        or (array[0] != usual.groups[0][name][0]).any()
    ]
    assert changed, "the model sees the user's sample"
    assert found.project.digest() != bundled.project.digest()


@pytest.mark.parametrize(
    ("name", "file", "says"),
    [
        ("clip", "lost.png", "is not a file"),
        ("clip", "not.png", "not"),
        ("clip", "lost.json", "lost.png"),
        ("clip", "odd.json", "sample 0"),
        ("clip", "broken.json", "is not JSON"),
        ("clip", "empty.txt", "holds no text"),
        ("clip", "right.wav", "the model takes no audio"),
        ("wav2vec2_ctc", "wrong.wav", "8000 Hz"),
        ("wav2vec2_ctc", "not.wav", "not.wav"),
        ("wav2vec2_ctc", "cat.png", "the model takes no image"),
    ],
)
def test_a_bad_sample_is_one_clear_error(
    checkpoint: Checkpoint, own: Callable[[str], Path], name: str, file: str, says: str
) -> None:
    with pytest.raises((DataError, InputError)) as caught:
        propose(checkpoint(name), samples=(str(own(file)),))
    text = str(caught.value)
    assert says in text
    assert "None" not in text


def test_what_to_do_about_another_rate_is_told(
    checkpoint: Checkpoint, own: Callable[[str], Path]
) -> None:
    with pytest.raises(DataError, match="does not take sample 0") as caught:
        propose(checkpoint("wav2vec2_ctc"), samples=(str(own("wrong.wav")),))
    assert "ffmpeg" in str(caught.value.details["try"])


def test_a_sample_for_a_project_is_refused(
    write_project: WriteProject, own: Callable[[str], Path], tmp_path: Path
) -> None:
    project = write_project(tmp_path / "project")
    output = tmp_path / "out.mmedge"
    with pytest.raises(ProjectError, match="--sample is for checkpoint directories") as caught:
        compile_project(project, output=output, samples=(str(own("cat.png")),))
    assert "[data]" in str(caught.value.details["try"])
    assert not output.exists()
