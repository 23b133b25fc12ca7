"""Encoder-decoders are recognised for what they are, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
import zoo
from mmedge_export.huggingface.decoder_beginning import shared
from mmedge_export.huggingface.prefix_decoder import recipe as prefix_decoder
from mmedge_export.huggingface.recording import record_generate
from mmedge_export.huggingface.sequence_to_sequence import recipe

from mmedge.errors import ProjectError
from mmedge.recipes import CheckpointView, Proposal

Checkpoint = Callable[[str], Path]


def view(name: str, directory: Path, **changes: Any) -> CheckpointView:
    """What there is to see of a zoo's checkpoint; the sample is upstream's own."""
    config = transformers.AutoConfig.from_pretrained(directory)
    (sample, *_) = zoo.inputs(name, directory)
    facts: dict[str, Any] = {
        "directory": directory,
        "config": config,
        "model_class": getattr(transformers, config.architectures[0]),
        "processor": {},
        "sample": {key: np.asarray(tensor) for key, tensor in sample.items()},
    }
    return CheckpointView(**facts | changes)


ENCODERS = {
    "whisper": {},
    "trocr": {},
    "donut": {},
    "blip_captioning": {},
    "blip_vqa": {"vision_encoder": "vision_model"},
    "florence2": {"vision_encoder": "get_image_features"},
    "blip2_t5": {"vision_encoder": "language_projection"},
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_proposal_takes_every_input_and_can_be_followed(
    checkpoint: Checkpoint, take_apart: Any, name: str
) -> None:
    directory = checkpoint(name)
    seen = view(name, directory)
    proposed = recipe.propose(seen)
    assert isinstance(proposed, Proposal)
    assert set(proposed.inputs) == set(seen.sample)
    assert proposed.options.get("encoders", {}) == ENCODERS[name]
    named = {dim for table in proposed.inputs.values() for dim in table.shape}
    assert {dim for dim in named if isinstance(dim, str)} == set(proposed.axes)
    assert all(reason.strip() for reason in proposed.reasons)
    example = zoo.batch(name, directory)
    take_apart("hf_sequence_to_sequence", zoo.load(directory), example, **proposed.options)


def test_a_caption_needs_no_text_to_begin_with(checkpoint: Checkpoint) -> None:
    """BLIP's processor makes ids of a text that says only how the caption begins."""
    seen = view("blip_captioning", checkpoint("blip_captioning"))
    ids = {name: np.ones((1, 6), np.int64) for name in ("input_ids", "attention_mask")}
    with_text = {**seen.sample, **ids}
    proposed = recipe.propose(view("blip_captioning", seen.directory, sample=with_text))
    assert isinstance(proposed, Proposal)
    assert set(proposed.inputs) == {"pixel_values"}
    assert any("input_ids and attention_mask" in reason for reason in proposed.reasons)


@pytest.mark.parametrize(
    ("name", "why"),
    [("clip", "does not generate"), ("llava", "no cross-attention"), ("git", "no cross-attention")],
)
def test_other_families_are_left_alone(checkpoint: Checkpoint, name: str, why: str) -> None:
    assert why in str(recipe.propose(view(name, checkpoint(name))))


@pytest.mark.parametrize("name", ["whisper", "git"])
def test_without_a_sample_there_is_no_proposal(checkpoint: Checkpoint, name: str) -> None:
    seen = view(name, checkpoint(name), sample={})
    answer = (prefix_decoder if name == "git" else recipe).propose(seen)
    assert "no sample" in str(answer)


def test_git_is_known_by_its_own_recipe(checkpoint: Checkpoint) -> None:
    proposed = prefix_decoder.propose(view("git", checkpoint("git")))
    assert isinstance(proposed, Proposal)
    assert set(proposed.inputs) == {"input_ids", "attention_mask", "pixel_values"}
    assert "not a prefix" in str(prefix_decoder.propose(view("llava", checkpoint("llava"))))


def test_a_mask_of_a_sound_has_the_axes_of_the_sound(checkpoint: Checkpoint) -> None:
    seen = view("whisper", checkpoint("whisper"))
    sample = {**seen.sample, "attention_mask": np.ones((1, 80), np.int64)}
    proposed = recipe.propose(view("whisper", checkpoint("whisper"), sample=sample))
    assert isinstance(proposed, Proposal)
    assert proposed.inputs["attention_mask"].shape == ("batch", 80)
    assert proposed.inputs["attention_mask"].modality == "audio"


@pytest.fixture
def without_a_language(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    """Whisper as the hub has it: the language is to be heard."""
    directory = tmp_path / "whisper"
    shutil.copytree(checkpoint("whisper"), directory)
    path = directory / "generation_config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in stored.items() if k not in ("language", "task")}))
    return directory


def test_a_language_is_taken_where_none_is_named(without_a_language: Path, take_apart: Any) -> None:
    proposed = recipe.propose(view("whisper", without_a_language))
    assert isinstance(proposed, Proposal)
    assert proposed.options["generate"] == {"language": "en", "task": "transcribe"}
    assert any("en is taken" in reason for reason in proposed.reasons)


def test_samples_that_begin_differently_are_refused(checkpoint: Checkpoint) -> None:
    directory = checkpoint("whisper")
    example = zoo.batch("whisper", directory)
    recording = record_generate(zoo.load(directory), example, max_new_tokens=2)
    recording.prompt[1, 1] += 1
    with pytest.raises(ProjectError, match="language"):
        shared(recording)


def test_inputs_that_the_first_step_does_not_take_are_refused(checkpoint: Checkpoint) -> None:
    """A page without its words."""
    seen = view("udop", checkpoint("udop"))
    assert isinstance(recipe.propose(seen), Proposal)
    pixels = {"pixel_values": seen.sample["pixel_values"]}
    answer = recipe.propose(view("udop", checkpoint("udop"), sample=pixels))
    assert isinstance(answer, str)
    assert "You must specify exactly one of input_ids" in answer


def test_a_generate_of_the_models_own_is_not_judged_by_forward(checkpoint: Checkpoint) -> None:
    """BLIP's forward is for training."""
    answer = recipe.propose(view("blip_captioning", checkpoint("blip_captioning")))
    assert isinstance(answer, Proposal)
