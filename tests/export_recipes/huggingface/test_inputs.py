"""Which axes of an input may vary follows from its name; how far, from the config."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from mmedge_export.huggingface.inputs import (
    axes_of,
    forward_names,
    longest_text,
    missing_modalities,
    modality_of,
    named_shape,
    output_fields,
    tables_of,
)
from mmedge_export.huggingface.one_canvas import one_canvas

from mmedge.checkpoint.huggingface_class import config_and_class
from mmedge.project import project_from_mapping
from mmedge.recipes import CheckpointView

Checkpoint = Callable[[str], Path]


@pytest.fixture
def view(checkpoint: Checkpoint) -> Callable[..., CheckpointView]:
    """`view("clip", {"pixel_values": (1, 3, 32, 32)}, image={...})`."""

    def seen(name: str, shapes: dict[str, tuple[int, ...]], **processor: Any) -> CheckpointView:
        config, model_class = config_and_class(checkpoint(name))
        sample = {n: np.zeros(s, "float32" if "pixel" in n else "int64") for n, s in shapes.items()}
        return CheckpointView(checkpoint(name), config, model_class, processor, sample)

    return seen


@pytest.mark.parametrize(
    ("name", "shape", "named"),
    [
        ("input_ids", (1, 7), ("batch", "length")),
        ("input_ids", (1, 2, 7), ("batch", "queries", "length")),
        ("pixel_values", (1, 3, 32, 40), ("batch", 3, 32, 40)),
        ("pixel_values", (1, 2, 3, 32, 40), ("batch", "images", 3, 32, 40)),
        ("pixel_values", (1, 2, 5, 3, 8, 8), ("batch", "images", "tiles", 3, 8, 8)),
        ("pixel_attention_mask", (1, 256), ("batch", "patches")),
        ("input_values", (1, 16000), ("batch", "samples")),
        ("input_features", (1, 80, 300), ("batch", 80, 300)),
        ("bbox", (1, 7, 4), ("batch", "length", 4)),
        ("something_new", (1, 4, 9), ("batch", 4, 9)),
        ("something_new", (1,), ("batch",)),
    ],
)
def test_axes_are_named(name: str, shape: tuple[int, ...], named: tuple[Any, ...]) -> None:
    assert named_shape(name, np.zeros(shape, "float32")) == named


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("pixel_values", "image"),
        ("pixel_mask", "image"),
        ("image_grid_thw", "image"),
        ("spatial_shapes", "image"),
        ("input_features", "audio"),
        ("attention_mask", "text"),
        ("something_new", "tensor"),
    ],
)
def test_modalities_follow_from_names(name: str, modality: str) -> None:
    assert modality_of(name) == modality


SHAPES = {"input_ids": (1, 7), "attention_mask": (1, 7), "pixel_values": (1, 3, 32, 32)}


def test_tables_are_a_project(view: Any, tmp_path: Path) -> None:
    seen = view("clip", {**SHAPES, "not_taken": (1, 2)})
    inputs, axes = tables_of(seen, forward_names(seen.model_class))
    assert list(inputs) == list(SHAPES)
    assert {"batch", "length"} == set(axes)
    assert axes["length"].opt == 7
    assert axes["length"].max == seen.config.text_config.max_position_embeddings
    tables = {name: {"shape": list(table.shape)} for name, table in inputs.items()}
    limits = {
        n: {"min": a.min, "opt": a.opt, "max": a.max, "step": a.step} for n, a in axes.items()
    }
    project_from_mapping(tmp_path, {"name": "x", "inputs": tables, "axes": limits})


def test_a_sample_outside_of_the_range_does_not_break_it(view: Any) -> None:
    seen = view("clip", {**SHAPES, "input_ids": (1, 4000), "attention_mask": (1, 4000)})
    inputs, _ = tables_of(seen, forward_names(seen.model_class))
    for axis in axes_of(seen, inputs).values():
        assert axis.min <= axis.opt <= axis.max


def test_a_text_is_as_long_as_config_and_tokenizer_allow(view: Any) -> None:
    own = view("clip", SHAPES).config.text_config.max_position_embeddings
    assert longest_text(view("clip", SHAPES)) == own
    assert longest_text(view("clip", SHAPES, text={"max_length": own - 5})) == own - 5
    assert longest_text(view("clip", SHAPES, text={"max_length": None})) == own


def test_pictures_that_keep_their_shape_have_two_axes_more(view: Any) -> None:
    shapes = {"pixel_values": (1, 3, 64, 96), "pixel_mask": (1, 64, 96)}
    size = {"shortest_edge": 64, "longest_edge": 106}
    seen = view("vilt", shapes, image={"divisor": 32, "size": size})
    inputs, axes = tables_of(seen, set(shapes))
    assert inputs["pixel_values"].shape == ("batch", 3, "height", "width")
    assert inputs["pixel_mask"].shape == ("batch", "height", "width")
    for edge, sample in (("height", 64), ("width", 96)):
        axis = axes[edge]
        assert axis.step == 32
        assert axis.min <= axis.opt == sample <= axis.max
        assert all(value % 32 == 0 for value in (axis.min, axis.opt, axis.max))
        assert axis.max >= size["longest_edge"]
    cropped = view("vilt", shapes, image={"divisor": 32, "size": size, "crop": {"height": 64}})
    assert tables_of(cropped, set(shapes))[0]["pixel_values"].shape == ("batch", 3, 64, 96)


def test_regions_come_from_the_config(view: Any) -> None:
    seen = view("lxmert", {"input_ids": (1, 7)})
    inputs, axes = tables_of(seen, forward_names(seen.model_class))
    assert inputs["visual_feats"].shape == ("batch", "regions", seen.config.visual_feat_dim)
    assert inputs["visual_pos"].shape == ("batch", "regions", seen.config.visual_pos_dim)
    assert axes["regions"].min <= axes["regions"].opt <= axes["regions"].max


def test_a_modality_that_nobody_makes_is_found() -> None:
    clip = transformers.CLIPModel
    assert missing_modalities(clip, SHAPES) == []
    assert missing_modalities(clip, ["pixel_values"]) == ["text"]
    assert missing_modalities(clip, ["input_ids", "attention_mask"]) == ["image"]
    assert missing_modalities(transformers.ViTModel, ["pixel_values"]) == []
    assert missing_modalities(transformers.Wav2Vec2ForCTC, ["input_values"]) == []
    # Its forward takes features of regions, which nobody needs to give.
    assert missing_modalities(transformers.VisualBertModel, ["input_ids"]) == []


def test_fields_are_those_of_the_annotated_output() -> None:
    assert {"image_embeds", "logits_per_text"} <= output_fields(transformers.CLIPModel)
    assert "image_embeds" not in output_fields(transformers.ViTModel)


PICTURES = {"pixel_values": (1, 3, 60, 90), "pixel_mask": (1, 60, 90)}


def test_one_canvas_is_as_large_as_a_picture_can_be(view: Any) -> None:
    image = {"size": {"shortest_edge": 60, "longest_edge": 100}}
    seen = view("grounding_dino", {**PICTURES, "input_ids": (1, 4)}, image=image)
    mask = np.ones_like(seen.sample["pixel_mask"])
    seen = dataclasses.replace(seen, sample={**seen.sample, "pixel_mask": mask})
    found = one_canvas(seen)
    assert found is not None
    assert found.processor["image"]["pad_size"] == {"height": 100, "width": 100}
    assert found.sample["pixel_values"].shape == (1, 3, 100, 100)
    assert found.sample["pixel_mask"].sum() == mask.sum(), "what is padded is masked"
    assert found.sample["pixel_mask"][:, :60, :90].all()
    assert found.sample["input_ids"].shape == (1, 4)
    assert "pad_size" not in seen.processor["image"], "the view is as it was"


@pytest.mark.parametrize(
    ("shapes", "image"),
    [
        (PICTURES, {"size": {"longest_edge": 100}, "divisor": 32}),
        (PICTURES, {"size": {"height": 60, "width": 90}}),
        ({"pixel_values": (1, 3, 60, 90)}, {"size": {"longest_edge": 100}}),
        (PICTURES, None),
    ],
)
def test_other_pictures_need_none(view: Any, shapes: Any, image: Any) -> None:
    assert one_canvas(view("grounding_dino", shapes, **({"image": image} if image else {}))) is None
