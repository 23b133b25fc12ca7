"""Encoder-decoders in parts write what `generate` writes, in torch and in ONNX Runtime."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from mmedge_export.huggingface.cross_step import CrossStep
from tiny_encoder_decoders import MODELS
from torch import nn

from mmedge.errors import ProjectError
from mmedge.runtime.execute import evaluate, execute

RECIPE = "hf_sequence_to_sequence"
ZOO: dict[str, dict[str, str]] = {
    "whisper": {},
    "trocr": {},
    "donut": {},
    "blip_captioning": {},
    "blip_vqa": {"vision_encoder": "vision_model"},
    "florence2": {"vision_encoder": "get_image_features"},
    "blip2_t5": {"vision_encoder": "language_projection"},
}
each = pytest.mark.parametrize("name", ZOO)
Opened = Callable[[str], Any]


@pytest.fixture
def opened(checkpoint: Callable[[str], Path], take_apart: Any) -> Opened:
    """The zoo's model in parts."""

    def open_(name: str, **options: Any) -> Any:
        directory = checkpoint(name)
        example = zoo.batch(name, directory)
        options = {"encoders": ZOO[name], **options}
        return take_apart(RECIPE, zoo.load(directory), example, **options)

    return open_


@each
def test_the_parts_write_what_generate_writes(opened: Opened, check: Any, name: str) -> None:
    apart = opened(name)
    for rows in ((0,), (1,), (1, 0, 1)):
        check(apart).generates_as_upstream(apart.wiring, apart.eager, *rows)


# The others are compiled whole in tests/architectures/test_compile.py.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["blip2_t5"])
def test_as_onnx_too_at_other_sizes(opened: Opened, check: Any, name: str) -> None:
    apart = opened(name)
    wiring = apart.export()
    for rows in ((0,), (1, 0, 1)):
        check(apart).generates_as_upstream(wiring, apart.onnx, *rows)
    check(apart).components_are_eager(wiring, axis="batch", size=5)
    if "length" in apart.project.axes():
        longer = apart.example["input_ids"].shape[1] + 7
        check(apart).components_are_eager(wiring, axis="length", size=longer)


@each
def test_the_decoder_sees_only_what_it_is_bound_to(opened: Opened, check: Any, name: str) -> None:
    """The encoder's states are poisoned: nothing but keys and values may reach the logits."""
    apart = opened(name)
    step = apart.component("decoder_model_merged").module
    assert isinstance(step, CrossStep)
    step.unknown = float("nan")
    check(apart).generates_as_upstream(apart.wiring, apart.eager, 0, 1)


@each
def test_parts_are_named_as_the_ecosystem_names_them(opened: Opened, name: str) -> None:
    apart = opened(name)
    names = [component.name for component in apart.split.components]
    assert names == [*ZOO[name], "encoder_model", "decoder_model_merged"]
    encoder, decoder = map(apart.component, names[-2:])
    assert encoder.outputs[:2] == ("present.0.encoder.key", "present.0.encoder.value")
    bound = decoder.bindings["past_key_values.1.encoder.value"]
    assert bound == "encoder_model.present.1.encoder.value"
    assert decoder.outputs[1] == "present.0.decoder.key"
    assert list(apart.split.decoder_examples)[:2] == ["input_ids", "past_key_values.0.decoder.key"]


@pytest.mark.parametrize("name", ["blip_vqa", "florence2", "blip2_t5"])
def test_one_image_serves_many_questions(opened: Opened, name: str) -> None:
    apart = opened(name)
    inputs = {key: tensor.numpy() for key, tensor in apart.rows(0).items()}
    kept = evaluate(
        apart.wiring,
        {"pixel_values": inputs.pop("pixel_values")},
        apart.eager,
        ["vision_encoder.features"],
    )
    run: list[str] = []

    def watched(component: str, feeds: dict[str, Any]) -> dict[str, Any]:
        run.append(component)
        return apart.eager(component, feeds)

    wiring = _without_the_image_elsewhere(apart.wiring)
    tokens = execute(wiring, inputs, watched, known=kept)["tokens"]
    np.testing.assert_array_equal(tokens, apart.split.reference(apart.rows(0))["tokens"])
    assert "vision_encoder" not in run


def _without_the_image_elsewhere(wiring: Any) -> Any:
    users = [c.name for c in wiring.components if "pixel_values" in c.bindings.values()]
    assert users == ["vision_encoder"]
    return wiring


@pytest.fixture
def captioning_from_a_text(checkpoint: Any, take_apart: Any) -> Any:
    """BLIP continues a text: it drops its last token and replaces the first."""
    directory = checkpoint("blip_captioning")
    example = zoo.batch("blip_captioning", directory)
    ids = torch.tensor([[2, 15, 92, 90, 15, 3], [2, 37, 82, 90, 16, 3]])
    example |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return take_apart(RECIPE, zoo.load(directory), example)


def test_a_decoder_that_continues_a_text(captioning_from_a_text: Any, check: Any) -> None:
    apart = captioning_from_a_text
    assert apart.split.generation.prompt == "decoder_prompt.decoder_input_ids"
    for rows in ((0,), (1,), (1, 0, 1)):
        check(apart).generates_as_upstream(apart.wiring, apart.eager, *rows)


@pytest.mark.slow
def test_a_decoder_that_continues_a_text_as_onnx(captioning_from_a_text: Any, check: Any) -> None:
    apart = captioning_from_a_text
    wiring = apart.export()
    check(apart).generates_as_upstream(wiring, apart.onnx, 1, 0, 1)
    assert list(wiring.component("decoder_prompt").bindings) == ["input_ids", "attention_mask"]
    assert list(wiring.component("encoder_model").bindings) == ["pixel_values"]


def test_the_example_is_left_as_it_was(captioning_from_a_text: Any) -> None:
    """BLIP writes into the ids that it is given."""
    assert captioning_from_a_text.example["input_ids"][:, 0].tolist() == [2, 2]


@pytest.mark.parametrize("name", MODELS)
def test_other_architectures_need_no_code_of_their_own(
    take_apart: Any, check: Any, name: str
) -> None:
    model, example, options = MODELS[name]()
    apart = take_apart(RECIPE, model, example, **options)
    for rows in ((0,), (1,), (1, 0, 1)):
        check(apart).generates_as_upstream(apart.wiring, apart.eager, *rows)


# One with a mask of its own making, one whose positions are biases, one with a long memory.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["moonshine"])
def test_other_architectures_as_onnx(take_apart: Any, check: Any, name: str) -> None:
    model, example, options = MODELS[name]()
    apart = take_apart(RECIPE, model, example, **options)
    wiring = apart.export()
    check(apart).generates_as_upstream(wiring, apart.onnx, 1, 0, 1)
    check(apart).components_are_eager(wiring, axis="batch", size=5)


def test_whisper_begins_and_suppresses_as_its_generation_config_says(opened: Opened) -> None:
    apart = opened("whisper")
    generation = apart.split.generation
    stored = apart.model.generation_config
    spoken = [stored.lang_to_id["<|en|>"], stored.task_to_id["transcribe"]]
    start = [stored.decoder_start_token_id, *spoken, stored.no_timestamps_token_id]
    assert list(generation.start_token_ids) == start
    assert list(generation.rules.suppress_tokens) == stored.suppress_tokens
    assert list(generation.rules.begin_suppress_tokens) == stored.begin_suppress_tokens


def test_whisper_in_another_language(opened: Opened, check: Any) -> None:
    apart = opened("whisper", generate={"language": "de", "task": "translate"})
    stored = apart.model.generation_config
    assert apart.split.generation.start_token_ids[1] == stored.lang_to_id["<|de|>"]
    assert apart.split.generation.start_token_ids[2] == stored.task_to_id["translate"]
    check(apart).generates_as_upstream(apart.wiring, apart.eager, 0, 1)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("vision_modle", "did you mean 'vision_model'"),
        ("spare", "generates without 'spare'"),
        ("constant", "'constant' depends on no input"),
        ("get_image_features", "neither a method nor a submodule"),
    ],
)
def test_an_encoder_that_cannot_be_cut_out_is_refused(
    checkpoint: Any, take_apart: Any, place: str, says: str
) -> None:
    directory = checkpoint("blip_vqa")
    model = zoo.load(directory)
    model.spare = nn.Linear(2, 2)
    # Always the same, whatever the model is asked.
    model.constant = nn.Linear(2, 2)
    own = model.vision_model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        model.constant(torch.ones(1, 2))
        return own(*args, **kwargs)

    model.vision_model.forward = forward
    with pytest.raises(ProjectError, match=says):
        take_apart(
            RECIPE, model, zoo.batch("blip_vqa", directory), encoders={"vision_encoder": place}
        )


def test_an_unknown_option_is_refused(opened: Opened) -> None:
    with pytest.raises(ProjectError, match="beams"):
        opened("trocr", beams=4)


def test_a_longest_answer_is_what_was_asked_for(opened: Opened) -> None:
    assert opened("trocr", max_new_tokens=11).split.generation.max_new_tokens == 11


def test_without_a_length_the_decoder_has_places_for_the_answer(
    checkpoint: Any, take_apart: Any
) -> None:
    """As many as upstream's own `generate` takes, and no more."""
    directory = checkpoint("whisper")
    model = zoo.load(directory)
    model.generation_config.max_new_tokens = None
    inputs = zoo.batch("whisper", directory)
    generation = take_apart(RECIPE, model, inputs).split.generation
    longest = model.config.max_target_positions - len(generation.start_token_ids)
    assert generation.max_new_tokens == longest
    with pytest.raises(ValueError, match="max_target_positions"):
        model.generate(**inputs, max_new_tokens=longest + 1)


def test_without_any_generation_config(checkpoint: Any, take_apart: Any, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(checkpoint("whisper"), tmp_path / "whisper"))
    (directory / "generation_config.json").unlink()
    model, inputs = zoo.load(directory), zoo.batch("whisper", directory)
    apart = take_apart(RECIPE, model, inputs)
    assert apart.split.reference(inputs)["tokens"].shape[1] > 1
