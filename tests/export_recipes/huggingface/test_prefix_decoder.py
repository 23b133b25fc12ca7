"""GIT in parts writes what `generate` writes, about an image that is read once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import zoo

from mmedge.errors import ProjectError
from mmedge.runtime.execute import evaluate, execute

RECIPE = "hf_prefix_decoder"


@pytest.fixture(params=["a question", "no text", "no mask"])
def apart(request: pytest.FixtureRequest, checkpoint: Any, take_apart: Any) -> Any:
    directory = checkpoint("git")
    example = zoo.batch("git", directory)
    if request.param == "no text":
        example = {"pixel_values": example["pixel_values"]}
    if request.param == "no mask":
        ids = example["input_ids"][:1].expand(2, -1)
        example = {"input_ids": ids, "pixel_values": example["pixel_values"]}
    return take_apart(RECIPE, zoo.load(directory), example)


def test_the_parts_write_what_generate_writes(apart: Any, check: Any) -> None:
    for rows in ((0,), (1,), (1, 0, 1)):
        check(apart).generates_as_upstream(apart.wiring, apart.eager, *rows)


@pytest.mark.slow
def test_as_onnx_too(checkpoint: Any, take_apart: Any, check: Any) -> None:
    directory = checkpoint("git")
    apart = take_apart(RECIPE, zoo.load(directory), zoo.batch("git", directory))
    wiring = apart.export()
    for rows in ((0,), (1, 0, 1)):
        check(apart).generates_as_upstream(wiring, apart.onnx, *rows)
    check(apart).components_are_eager(wiring, axis="batch", size=5)


def test_the_image_is_read_once_for_many_questions(checkpoint: Any, take_apart: Any) -> None:
    directory = checkpoint("git")
    apart = take_apart(RECIPE, zoo.load(directory), zoo.batch("git", directory))
    rows = apart.rows(0)
    sources = [f"vision_encoder.{name}" for name in apart.component("vision_encoder").outputs]
    image = {"pixel_values": rows["pixel_values"].numpy()}
    kept = evaluate(apart.wiring, image, apart.eager, sources)
    for length in (14, 9):
        asked = {name: rows[name][:, :length] for name in ("input_ids", "attention_mask")}
        arrays = {name: tensor.numpy() for name, tensor in asked.items()}
        found = execute(apart.wiring, arrays, apart.eager, known=kept)["tokens"]
        expected = apart.split.reference({**asked, "pixel_values": rows["pixel_values"]})
        np.testing.assert_array_equal(found, expected["tokens"])


def test_the_text_does_not_reach_the_images_keys_and_values(apart: Any) -> None:
    module = apart.component("vision_encoder").module
    before = module(apart.example["pixel_values"])
    module.start = module.start + 1
    after = module(apart.example["pixel_values"])
    assert all(map(torch.equal, before, after))


def test_without_an_image_there_is_nothing_to_read(checkpoint: Any, take_apart: Any) -> None:
    directory = checkpoint("git")
    example = zoo.batch("git", directory)
    del example["pixel_values"]
    with pytest.raises(ProjectError, match="reads an image first"):
        take_apart(RECIPE, zoo.load(directory), example)
