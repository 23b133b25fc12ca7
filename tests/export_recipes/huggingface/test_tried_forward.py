"""What forward would complain of is known before any work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmedge_export.huggingface import dual_encoder, single_pass
from mmedge_export.huggingface.inputs import axes_of, forward_names, tables_of, texts_apart
from mmedge_export.huggingface.tried_forward import complaint
from transformers import CLIPConfig, CLIPModel

from mmedge.checkpoint.huggingface_class import config_and_class
from mmedge.data.upstream import upstream_tensors
from mmedge.recipes import CheckpointView

Checkpoint = Callable[[str], Path]


@pytest.fixture
def view(checkpoint: Checkpoint) -> Callable[..., CheckpointView]:
    def seen(name: str) -> CheckpointView:
        directory = checkpoint(name)
        config, kind = config_and_class(directory)
        sample = {key: array[:1] for key, array in upstream_tensors(directory).items()}
        return CheckpointView(directory, config, kind, {}, sample)

    return seen


def complained(view: CheckpointView, *without: str) -> str | None:
    inputs, axes = tables_of(view, forward_names(view.model_class))
    inputs = {name: table for name, table in inputs.items() if name not in without}
    return complaint(view, inputs, axes)


@pytest.mark.parametrize("name", ["bros", "wav2vec2_ctc", "mgp_str", "altclip"])
def test_inputs_that_forward_takes(view: Callable[..., CheckpointView], name: str) -> None:
    assert complained(view(name)) is None


def test_an_input_that_forward_wants(view: Callable[..., CheckpointView]) -> None:
    assert complained(view("bros"), "bbox") == "ValueError: You have to specify bbox"


def test_a_recipe_refuses_with_what_forward_says(view: Callable[..., CheckpointView]) -> None:
    seen = view("altclip")
    pixels = seen.sample["pixel_values"][..., :-4]
    for family in (single_pass.recipe, dual_encoder.recipe):
        answer = family.propose(replace(seen, sample={**seen.sample, "pixel_values": pixels}))
        assert isinstance(answer, str)
        assert "doesn't match model" in answer


@pytest.mark.parametrize("name", ["siglip2", "vilt"])
def test_what_depends_on_values_is_left_to_the_compile(
    view: Callable[..., CheckpointView], name: str
) -> None:
    """Upstream reads the sizes of pictures from tensors."""
    assert complained(view(name)) is None


def test_a_large_model_costs_no_memory_to_try() -> None:
    """40 GB of weights."""
    text: dict[str, Any] = {"hidden_size": 8192, "intermediate_size": 32768}
    text |= {"num_hidden_layers": 12, "num_attention_heads": 16}
    config = CLIPConfig(text_config=text)
    pixels = np.zeros((1, 3, 224, 224), "float32")
    sample = {"input_ids": np.zeros((1, 7), "int64"), "pixel_values": pixels}
    view = CheckpointView(Path(), config, CLIPModel, {}, sample)
    assert complained(view) is None
    said = complained(replace(view, sample={**sample, "pixel_values": pixels[..., 1:]}))
    assert said is not None
    assert "224" in said


def test_nothing_is_logged(
    view: Callable[..., CheckpointView], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert complained(view("bros"), "bbox")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_texts_are_counted_by_themselves_only_where_forward_takes_more_of_them(
    view: Callable[..., CheckpointView],
) -> None:
    seen = view("clipseg")
    inputs, axes = tables_of(seen, forward_names(seen.model_class))
    apart = texts_apart(inputs)
    assert complaint(seen, inputs, axes) is None
    assert "as many prompt texts" in str(complaint(seen, apart, axes_of(seen, apart)))
