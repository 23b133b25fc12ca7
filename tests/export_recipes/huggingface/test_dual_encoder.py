"""Two towers and a similarity say what upstream's forward says, each at a batch of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from mmedge_export.huggingface.dual_encoder import recipe
from mmedge_export.huggingface.inputs import modality_of
from torch import Tensor, nn

from mmedge.data.processed import samples_of_processor
from mmedge.data.samples import load_samples
from mmedge.errors import ProjectError
from mmedge.project import Project
from mmedge.proposing import propose
from mmedge.recipes import Split
from mmedge.verify.sides import to_torch

Checkpoint = Callable[[str], Path]
TOWERS = {
    "clip": ("vision_model", "text_model"),
    "siglip": ("vision_model", "text_model"),
    "chinese_clip": ("vision_model", "text_model"),
    "altclip": ("vision_model", "text_model"),
    "metaclip2": ("vision_model", "text_model"),
    "vision_text_dual_encoder": ("vision_model", "text_model"),
    "groupvit": ("vision_model", "text_model"),
    "align": ("vision_model", "text_model"),
    "clap": ("audio_model", "text_model"),
}
NORMALISES_TWICE = {"rtol": 1e-4, "atol": 1e-5}


@dataclass(frozen=True)
class Taken:
    project: Project
    model: nn.Module
    example: dict[str, Tensor]
    split: Split

    def some(self, *, media: int, texts: int) -> dict[str, Tensor]:
        """The example with so many images or sounds, and so many texts."""
        sizes = {n: texts if modality_of(n) == "text" else media for n in self.example}
        return {name: tensor[: sizes[name]] for name, tensor in self.example.items()}


@pytest.fixture(scope="module")
def taken(checkpoint: Checkpoint) -> Callable[[str], Taken]:
    made: dict[str, Taken] = {}

    def split(name: str) -> Taken:
        if name not in made:
            project = propose(checkpoint(name)).project
            example = to_torch(load_samples(project, "evaluation").first(4))
            model = zoo.load(checkpoint(name))
            made[name] = Taken(project, model, example, recipe.split(model, project, {}, example))
        return made[name]

    return split


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize(("media", "texts"), [(1, 4), (3, 1), (2, 2)])
def test_it_is_upstreams_forward(
    taken: Callable[[str], Taken], name: str, media: int, texts: int
) -> None:
    here = taken(name)
    inputs = here.some(media=media, texts=texts)
    values = here.split.run(inputs)
    with torch.no_grad():
        wanted = here.model(**inputs)
    assert set(here.split.outputs) >= {"text_embeds", "logits_per_text"}
    for output, source in here.split.outputs.items():
        torch.testing.assert_close(values[source], wanted[output], **NORMALISES_TWICE)
        reference = here.split.reference(inputs)[output]
        torch.testing.assert_close(reference, wanted[output], rtol=0, atol=0)
    first, second = TOWERS[name]
    assert [component.name for component in here.split.components] == [first, second, "similarity"]
    assert len(values[here.split.outputs["text_embeds"]]) == texts


def test_a_tower_takes_its_own_inputs_alone(taken: Callable[[str], Taken]) -> None:
    for name in ("clip", "clap"):
        for component in taken(name).split.components[:2]:
            modalities = {modality_of(argument) for argument in component.bindings}
            assert modalities == {component.modality}


def test_texts_are_counted_by_themselves(checkpoint: Checkpoint) -> None:
    project = propose(checkpoint("clip")).project
    shapes = {name: table.shape[0] for name, table in project.file.inputs.items()}
    assert shapes == {
        "pixel_values": "batch", "input_ids": "text_batch", "attention_mask": "text_batch",
    }  # fmt: skip
    assert {"batch", "text_batch"} <= set(project.axes())


def test_samples_that_are_all_alike_are_enough(taken: Callable[[str], Taken]) -> None:
    """One image of the user's, several times."""
    here = taken("clip")
    alike = {name: tensor[[0, 0]] for name, tensor in here.example.items()}
    split = recipe.split(here.model, here.project, {}, alike)
    values, wanted = split.run(alike), split.reference(alike)
    torch.testing.assert_close(
        values["similarity.logits_per_image"], wanted["logits_per_image"], **NORMALISES_TWICE
    )


class Fused(nn.Module):
    """Its outputs are made of pixels too, whatever the towers say."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip

    def get_image_features(self, pixel_values: Tensor) -> Any:
        return self.clip.get_image_features(pixel_values)

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.clip.get_text_features(input_ids, attention_mask)

    def forward(self, **inputs: Tensor) -> Any:
        output, shade = self.clip(**inputs), inputs["pixel_values"].mean((1, 2, 3))
        return {
            "logits_per_image": shade[:, None],
            "image_embeds": output.image_embeds + shade[:, None],
            "text_embeds": output.text_embeds,
        }


def test_logits_of_something_else_are_refused_with_the_way_out(
    taken: Callable[[str], Taken],
) -> None:
    here = taken("clip")
    with pytest.raises(ProjectError, match="cannot be continued from image_embeds") as caught:
        recipe.split(Fused(here.model).eval(), here.project, {}, here.example)
    assert "hf_single_pass" in str(caught.value.details["try"])


def test_it_has_no_options(taken: Callable[[str], Taken]) -> None:
    here = taken("clip")
    with pytest.raises(ProjectError, match="towers"):
        recipe.split(here.model, here.project, {"towers": 2}, here.example)


def test_more_samples_than_one_are_looked_at(checkpoint: Checkpoint) -> None:
    samples = samples_of_processor(propose(checkpoint("clip")).project)
    assert samples.count >= 2
    assert samples.real


@pytest.mark.parametrize("name", ["llava", "vilt", "wav2vec2_ctc", "whisper"])
def test_other_families_are_left_alone(checkpoint: Checkpoint, name: str) -> None:
    assert "two towers" in propose(checkpoint(name)).refused["hf_dual_encoder"]
