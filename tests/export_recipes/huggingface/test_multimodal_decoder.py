"""Vision-language models in parts write what `generate` writes, however their prompt is made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from mmedge_export.huggingface.inputs import modality_of, named_shape
from mmedge_export.huggingface.multimodal_decoder import ENCODERS, recipe
from torch import Tensor

from mmedge.data.processed import samples_of_processor
from mmedge.errors import ProjectError
from mmedge.graph.example import traceable
from mmedge.project import Project, project_from_mapping
from mmedge.proposing import propose
from mmedge.recipes import Proposal
from mmedge.runtime.execute import execute
from mmedge.wiring import LogitsRules

RECIPE = "hf_multimodal_decoder"
# Whose processors mmedge has.
NAMES = (
    "blip2_opt",
    "gemma3",
    "idefics2",
    "idefics3",
    "internvl",
    "llava",
    "llava_next",
    "mistral3",
    "paligemma",
    "pixtral",
    "qwen2_5_vl",
    "qwen2_vl",
    "smolvlm",
    "vipllava",
)
# One for each way of making a prompt.
# Besides those that tests/architectures/test_compile.py compiles whole.
EXPORTED = ("gemma3", "llava_next", "paligemma")

# Whose tensors transformers makes.
UNPROCESSED = ("audio_flamingo3", "aya_vision", "chameleon", "instructblip")

each = pytest.mark.parametrize("name", NAMES)


def taken_apart(directory: Path, apart_type: Any, where: Path) -> Any:
    """By the proposed project, with the bundled samples as one padded batch."""
    project = propose(directory).project
    options = dict(project.file.recipe)
    assert options.pop("name") == RECIPE
    example = examples_of(project)
    model = zoo.load(directory)
    split = recipe.split(model, project, options, example)
    return apart_type(model, example, project, split, where)


@pytest.fixture
def by_upstream(checkpoint: Callable[[str], Path], tmp_path: Path, apart_type: Any) -> Any:
    """By the tensors of the upstream processor, with a batch axis of their own."""

    def take(name: str) -> Any:
        directory = checkpoint(name)
        example = zoo.batch(name, directory)
        texts = len(example["input_ids"])
        flat = [key for key, tensor in example.items() if len(tensor) != texts]
        for key, tensor in example.items():
            whole = tensor.long() if tensor.dtype == torch.int32 else tensor
            example[key] = whole.unflatten(0, (texts, -1)) if key in flat else whole.contiguous()
        model = zoo.load(directory)
        project = project_of(example, tmp_path)
        options = {"encoders": encoders_of(model, example), "flat": flat}
        split = recipe.split(model, project, options, example)
        return apart_type(model, example, project, split, tmp_path)

    return take


def encoders_of(model: Any, example: dict[str, Tensor]) -> dict[str, str]:
    return {
        component: method
        for component, (method, modality) in ENCODERS.items()
        if hasattr(model, method) and any(modality_of(key) == modality for key in example)
    }


def project_of(example: dict[str, Tensor], directory: Path) -> Project:
    inputs = {
        name: {"shape": list(named_shape(name, t.numpy())), "dtype": str(t.dtype)[6:]}
        for name, t in example.items()
    }
    axes = {"length": {"min": 2, "opt": 16, "max": 256}}
    return project_from_mapping(directory, {"name": "tiny", "inputs": inputs, "axes": axes})


def examples_of(project: Project) -> dict[str, Tensor]:
    arrays = samples_of_processor(project).first(2)
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


@pytest.fixture
def take(checkpoint: Callable[[str], Path], tmp_path: Path, apart_type: Any) -> Any:
    return lambda name: taken_apart(checkpoint(name), apart_type, tmp_path)


@each
def test_the_parts_write_what_generate_writes(name: str, take: Any, check: Any) -> None:
    apart = take(name)
    mask = apart.example["attention_mask"]
    assert len(set(mask.sum(1).tolist())) == 2, "texts of two lengths"
    for rows in ((0,), (1,), (1, 0, 1)):
        check(apart).generates_as_upstream(apart.wiring, apart.eager, *rows)


@pytest.mark.parametrize("name", UNPROCESSED)
def test_tensors_may_come_from_upstreams_processor(name: str, by_upstream: Any, check: Any) -> None:
    apart = by_upstream(name)
    for rows in ((0,), (1,), (1, 0, 1)):
        check(apart).generates_as_upstream(apart.wiring, apart.eager, *rows)


@pytest.mark.parametrize("name", ["kosmos2", "mllama"])
def test_an_image_is_never_left_out(name: str, by_upstream: Any) -> None:
    """Of architectures that do something else with it than put it among the embeddings."""
    with pytest.raises(ProjectError, match="does not put images or sounds among the prompt"):
        by_upstream(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_as_onnx_too(name: str, take: Any, check: Any, apart_type: Any) -> None:
    apart = take(name)
    example = traceable(apart.split, apart.example, apart.project)
    traced = apart_type(apart.model, example, apart.project, apart.split, apart.directory)
    wiring = traced.export()
    run = traced.onnx
    for rows in ((0,), (1, 0, 1)):
        inputs = {key: tensor.numpy() for key, tensor in apart.rows(*rows).items()}
        expected = apart.split.reference(apart.rows(*rows))["tokens"].numpy()
        np.testing.assert_array_equal(execute(wiring, inputs, run)["tokens"], expected)
    check(traced).components_are_eager(wiring, axis="batch", size=3)
    check(traced).components_are_eager(wiring, axis="length", size=70)


def test_images_of_unequal_grids_in_one_prompt(take: Any) -> None:
    """Two images for each of two prompts, one lying on its side, in either order."""
    apart = take("qwen2_vl")
    pixels, grids = (apart.example[n] for n in ("pixel_values", "image_grid_thw"))
    grids = torch.stack([grids[0], grids[1][:, [0, 2, 1]]])
    assert grids[0].tolist() != grids[1].tolist()
    ids, types = (apart.example[n] for n in ("input_ids", "mm_token_type_ids"))
    inputs = {
        "pixel_values": torch.stack([pixels.flatten(0, 1), pixels.flip(0).flatten(0, 1)]),
        "image_grid_thw": torch.stack([grids.flatten(0, 1), grids.flip(0).flatten(0, 1)]),
        "input_ids": torch.cat([ids, ids.flip(0)], dim=1),
        "mm_token_type_ids": torch.cat([types, types.flip(0)], dim=1),
        "attention_mask": torch.ones(2, 2 * ids.shape[1], dtype=torch.int64),
    }
    expected = apart.split.reference(inputs)["tokens"].numpy()
    arrays = {name: inputs[name].numpy() for name in apart.example}
    found = execute(apart.wiring, arrays, apart.eager)["tokens"]
    np.testing.assert_array_equal(found, expected)


def test_the_image_is_encoded_apart_from_the_text(take: Any) -> None:
    wiring = take("qwen2_vl").wiring
    taken = wiring.component("vision_encoder").bindings
    assert set(taken) == {"pixel_values", "image_grid_thw"}
    assert wiring.generation.prompt_positions == "merge_features.position_ids"
    axes = next(s for s in wiring.component("decoder_model_merged").inputs if "position" in s.name)
    assert axes.shape == (3, "batch", "new")


def test_patches_come_in_blocks(checkpoint: Callable[[str], Path]) -> None:
    axes = propose(checkpoint("qwen2_vl")).project.file.axes
    assert axes["patches"].step == 4


@pytest.mark.parametrize(("name", "new"), [("paligemma", 1), ("gemma3", 0)])
def test_token_types_go_to_the_decoder(name: str, new: int, take: Any) -> None:
    generation = take(name).split.generation
    assert generation.token_types_input == "token_type_ids"
    assert generation.prompt_token_types == "token_type_ids"
    assert generation.new_token_type == new


def test_a_prefix_without_its_types_is_causal(take: Any) -> None:
    """Without token_type_ids PaliGemma's prompt is causal, and is compiled as such."""
    apart = take("paligemma")
    example = {k: v for k, v in apart.example.items() if k != "token_type_ids"}
    options = {k: v for k, v in apart.project.file.recipe.items() if k != "name"}
    split = recipe.split(apart.model, apart.project, options, example)
    assert split.generation is not None
    assert split.generation.token_types_input is None


@pytest.fixture
def take_with(checkpoint: Callable[[str], Path], tmp_path: Path, apart_type: Any) -> Any:
    """LLaVA taken apart, its generation_config.json saying more."""

    def take(**settings: Any) -> Any:
        directory = tmp_path / "checkpoint"
        shutil.copytree(checkpoint("llava"), directory)
        path = directory / "generation_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        return taken_apart(directory, apart_type, tmp_path)

    return take


def test_the_checkpoints_rules_for_tokens_hold(take_with: Any, check: Any) -> None:
    """min_length as `generate` makes it, of the prompt it was recorded with, is not a rule."""
    plain = {"repetition_penalty": 1.5, "encoder_repetition_penalty": 1.25, "min_new_tokens": 3}
    apart = take_with(**plain, suppress_tokens=[4, 5])
    assert apart.split.generation.rules == LogitsRules(**plain, suppress_tokens=(4, 5))
    for rows in ((0,), (1, 0, 1)):
        check(apart).generates_as_upstream(apart.wiring, apart.eager, *rows)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sequence_bias": [[[5], 2.0]]}, "SequenceBiasLogitsProcessor"),
        ({"encoder_no_repeat_ngram_size": 2}, "EncoderNoRepeatNGramLogitsProcessor"),
        ({"guidance_scale": 2.0}, "UnbatchedClassifierFreeGuidanceLogitsProcessor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rule_that_mmedge_does_not_know_is_never_left_out(
    take_with: Any, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(ProjectError, match=named) as caught:
        take_with(**settings)
    assert caught.value.details["where"] == "generation_config.json"


def test_what_is_no_multimodal_decoder_says_why(checkpoint: Callable[[str], Path]) -> None:
    for name, reason in (("clip", "does not generate"), ("blip2_t5", "encoder-decoder")):
        proposed = propose(checkpoint(name))
        assert proposed.recipe != RECIPE
        assert reason in proposed.refused.get(RECIPE, reason)


def test_it_tells_what_it_does(checkpoint: Callable[[str], Path]) -> None:
    proposal = propose(checkpoint("llava")).proposal
    assert isinstance(proposal, Proposal)
    assert proposal.family == "multimodal decoder"
    assert any("get_image_features" in reason for reason in proposal.reasons)


def test_an_encoder_without_its_input_is_refused(take: Any) -> None:
    apart = take("llava")
    example = {k: v for k, v in apart.example.items() if k != "pixel_values"}
    options = {"encoders": {"vision_encoder": "get_image_features"}}
    with pytest.raises(ProjectError, match="takes none of the declared inputs"):
        recipe.split(apart.model, apart.project, options, example)
