"""How transformers' own processors are asked for samples, where mmedge has none of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmedge.data.upstream import upstream_samples, upstream_tensors

Checkpoint = Callable[[str], Path]


def test_tiles_of_all_images_in_a_row_are_each_samples_own(checkpoint: Checkpoint) -> None:
    found = upstream_samples(checkpoint("aya_vision"))
    assert found.flat == ("pixel_values",)
    assert found.tensors["pixel_values"].shape[0] == found.tensors["input_ids"].shape[0] == 2
    assert found.tensors["pixel_values"].ndim == 5


def test_a_processor_of_sounds_is_not_asked_about_images(checkpoint: Checkpoint) -> None:
    """It takes a conversation with an image in silence, and leaves the image out."""
    made = upstream_tensors(checkpoint("qwen2_audio"))
    assert {"input_features", "feature_attention_mask", "input_ids"} <= made.keys()
    sounds = made["feature_attention_mask"].sum(1)
    assert sounds[0] > sounds[1] > 0, "of different lengths"


def test_a_sound_is_no_longer_than_what_is_one_for_the_model(checkpoint: Checkpoint) -> None:
    made = upstream_tensors(checkpoint("audio_flamingo3"))
    assert len(made["input_features"]) == len(made["input_ids"]) == 2


def test_a_processor_that_places_the_image_itself_gets_the_text_alone(
    checkpoint: Checkpoint,
) -> None:
    config = json.loads((checkpoint("instructblip") / "config.json").read_text())
    ids = upstream_tensors(checkpoint("instructblip"))["input_ids"]
    places = (ids == config["image_token_index"]).sum(1)
    np.testing.assert_array_equal(places, config["num_query_tokens"])


def test_a_text_without_a_place_for_the_image_is_no_answer(checkpoint: Checkpoint) -> None:
    """Chameleon's takes captions without one only where no image is given."""
    config = json.loads((checkpoint("chameleon") / "config.json").read_text())
    image = config["vocabulary_map"]["<image>"]
    assert (upstream_tensors(checkpoint("chameleon"))["input_ids"] == image).any()


def test_a_class_for_videos_too_is_asked_about_images(checkpoint: Checkpoint) -> None:
    assert {"pixel_values", "input_ids"} <= upstream_tensors(checkpoint("llava_onevision")).keys()


def test_a_file_that_names_no_class(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Nothing says how its parts go together: one of them is asked alone."""
    broken = shutil.copytree(checkpoint("llava_onevision"), tmp_path / "broken")
    (broken / "processor_config.json").write_text("[]")
    assert not {"pixel_values", "input_ids"} <= upstream_tensors(broken).keys()


def test_a_processor_of_several_texts_with_an_image_is_given_several(
    checkpoint: Checkpoint,
) -> None:
    """Padded to its own length, which is the model's, rather than to the longest text."""
    config = json.loads((checkpoint("owlv2") / "config.json").read_text())
    found = upstream_samples(checkpoint("owlv2"))
    length = config["text_config"]["max_position_embeddings"]
    assert found.tensors["input_ids"].shape == (2, 2, length)
    assert found.flat == ("input_ids", "attention_mask")


def test_a_processor_of_one_text_with_an_image_is_given_one(checkpoint: Checkpoint) -> None:
    assert upstream_tensors(checkpoint("clip"))["input_ids"].ndim == 2


def test_an_image_has_as_many_patches_as_its_file_says(checkpoint: Checkpoint) -> None:
    """Upstream's own default is more than this model has positions for."""
    stored = json.loads((checkpoint("pix2struct") / "processor_config.json").read_text())
    made = upstream_tensors(checkpoint("pix2struct"))
    assert made["flattened_patches"].shape[:2] == (2, stored["image_processor"]["max_patches"])
    assert "decoder_input_ids" not in made


def test_a_processor_of_pages_is_given_words_and_boxes(checkpoint: Checkpoint) -> None:
    found = upstream_tensors(checkpoint("udop"))
    assert found["bbox"].shape == (*found["input_ids"].shape, 4)
    assert found["bbox"].max() > found["bbox"].min()
    assert len(found["pixel_values"]) == len(found["input_ids"]) == 2


def test_two_pictures_are_no_film_of_two(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """X-CLIP's processor takes them for one, whose texts are then one too many."""
    directory = shutil.copytree(checkpoint("xclip"), tmp_path / "xclip")
    config = json.loads((directory / "config.json").read_text())
    del config["vision_config"]["num_frames"]
    (directory / "config.json").write_text(json.dumps(config))
    assert "pixel_values" not in upstream_tensors(directory)
