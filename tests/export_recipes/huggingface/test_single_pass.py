"""A forward as it stands: inputs by position, outputs by upstream's names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from mmedge_export.huggingface.single_pass import MODEL, recipe, results_of
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling, ModelOutput

from mmedge.data.samples import load_samples
from mmedge.errors import ProjectError
from mmedge.project import Project, project_from_mapping
from mmedge.proposing import propose
from mmedge.recipes import Split
from mmedge.verify.sides import to_torch

Checkpoint = Callable[[str], Path]
OUTPUTS = {
    "vilt": {"logits"},
    "lxmert": {"question_answering_score"},
    "layoutlmv3": {"logits"},
    "wav2vec2_ctc": {"logits"},
    "owlvit": {"logits", "pred_boxes", "text_embeds", "image_embeds"},
    "flava": {"image_embeddings", "text_embeddings"},
    "clipseg": {"logits"},
    "xclip": {"logits_per_video", "logits_per_text", "video_embeds"},
    "owlv2": {"logits", "pred_boxes", "objectness_logits"},
    "bros": {"logits"},
    "layoutlm": {"logits"},
    "lilt": {"logits"},
    "visual_bert": {"logits"},
    "mgp_str": {"logits_0", "logits_1", "logits_2"},
}
ONE = torch.arange(3.0)


@pytest.mark.parametrize("name", OUTPUTS)
def test_it_is_upstreams_forward(checkpoint: Checkpoint, name: str) -> None:
    project = propose(checkpoint(name)).project
    options = dict(project.file.recipe)
    assert options.pop("name") == "hf_single_pass"
    example = to_torch(load_samples(project, "evaluation").first(2))
    model = zoo.load(checkpoint(name))
    split = recipe.split(model, project, options, example)
    assert set(split.outputs) >= OUTPUTS[name]
    (component,) = split.components
    assert list(component.bindings) == list(project.file.inputs)
    flat = options.get("flat", ())
    given = {n: t.flatten(0, 1) if n in flat else t for n, t in example.items()}
    torch.manual_seed(0)
    with torch.no_grad():
        wanted = results_of(model(**given))
    torch.manual_seed(0)
    values, reference = split.run(example), split.reference(example)
    assert len(reference) == len(split.outputs)
    for output, source in split.outputs.items():
        name = output if output in wanted else output.removesuffix("_out")
        for found in (values[source], reference[name]):
            torch.testing.assert_close(found, wanted[name], rtol=1e-4, atol=1e-4)


def test_owlvits_queries_have_an_axis_of_their_own(checkpoint: Checkpoint) -> None:
    project = propose(checkpoint("owlvit")).project
    assert project.file.recipe["flat"] == ["input_ids", "attention_mask"]
    for name in ("input_ids", "attention_mask"):
        assert project.file.inputs[name].shape == ("batch", "queries", "length")
    example = to_torch(load_samples(project, "evaluation").first(2))
    options = {"flat": ["input_ids", "attention_mask"]}
    split = recipe.split(zoo.load(checkpoint("owlvit")), project, options, example)
    for count in (1, 2):
        some = {n: t[:, :count] if t.ndim == 3 else t for n, t in example.items()}
        logits = split.reference(some)["logits"]
        assert logits.shape[0] == 2
        assert logits.shape[-1] == count


@pytest.mark.parametrize(
    ("name", "carries", "width"),
    [("bros", "bbox", 8), ("layoutlm", "bbox", 4), ("lilt", "bbox", 4),
     ("visual_bert", "visual_embeds", 48), ("lxmert", "visual_feats", 48)],
)  # fmt: skip
def test_what_no_processor_makes_is_an_input_all_the_same(
    checkpoint: Checkpoint, name: str, carries: str, width: int
) -> None:
    """Forward would go without it: a page without places, a question about nothing."""
    project = propose(checkpoint(name)).project
    assert project.file.inputs[carries].shape[-1] == width
    (component,) = split_of(checkpoint(name), project).components
    assert carries in component.bindings


def split_of(directory: Path, project: Project) -> Split:
    example = to_torch(load_samples(project, "evaluation").first(2))
    return recipe.split(zoo.load(directory), project, {}, example)


def test_one_film_is_compared_with_many_texts(checkpoint: Checkpoint) -> None:
    """As many frames as the model has places for, and texts that are counted by themselves."""
    project = propose(checkpoint("xclip")).project
    model = zoo.load(checkpoint("xclip"))
    batch, frames, *_ = project.file.inputs["pixel_values"].shape
    assert (batch, frames) == ("batch", model.config.vision_config.num_frames)
    assert project.file.inputs["input_ids"].shape == ("text_batch", "length")
    example = to_torch(load_samples(project, "evaluation").first(2))
    split = recipe.split(model, project, {}, example)
    some = {n: t if t.ndim == 2 else t[:1] for n, t in example.items()}
    assert split.reference(some)["logits_per_video"].shape == (1, 2)


def test_a_field_of_several_tensors_gives_each_a_name() -> None:
    output = ModelOutput(logits=(ONE, ONE + 1), hidden_states=(ONE,), a3_attentions=(ONE,))
    assert list(results_of(output)) == ["logits_0", "logits_1"]
    assert list(results_of(ModelOutput(score=ONE, logits=(ONE,)))) == ["score"]


def test_results_are_named_as_upstream_names_them() -> None:
    output = ModelOutput(loss=ONE, logits=ONE + 1, hidden_states=(ONE,), past_key_values=None)
    assert list(results_of(output)) == ["logits"]
    encoder = ModelOutput(logits=ONE, encoder_hidden_states=ONE, cross_attentions=ONE)
    assert list(results_of(encoder)) == ["logits"]


def test_nested_outputs_count_where_there_are_no_others() -> None:
    nested = BaseModelOutputWithPooling(last_hidden_state=ONE, pooler_output=ONE + 1)
    assert list(results_of(ModelOutput(inner=nested))) == ["last_hidden_state", "pooler_output"]
    assert list(results_of(ModelOutput(logits=ONE, inner=nested))) == ["logits"]


def test_tensors_without_names_are_numbered() -> None:
    assert list(results_of(ONE)) == ["output"]
    assert list(results_of((ONE, None, ONE))) == ["output_0", "output_2"]


class Echo(nn.Module):
    """It returns what it was given, under the same name."""

    def forward(self, x: Tensor) -> Any:
        return {"x": x + 1, "y": x * 2}


@pytest.fixture
def take(tmp_path: Path) -> Callable[[nn.Module], Split]:
    def split(model: nn.Module) -> Split:
        inputs = {"x": {"shape": ["batch", 3]}}
        project: Project = project_from_mapping(tmp_path, {"name": "tiny", "inputs": inputs})
        return recipe.split(model, project, {}, {"x": torch.ones(2, 3)})

    return split


def test_an_output_that_is_called_as_an_input_is(take: Callable[[nn.Module], Split]) -> None:
    split = take(Echo())
    assert split.outputs == {"x": f"{MODEL}.x_out", "y": f"{MODEL}.y"}
    inputs = {"x": torch.ones(1, 3)}
    values, reference = split.run(inputs), split.reference(inputs)
    for output, source in split.outputs.items():
        assert torch.equal(values[source], reference[output])


class Mute(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return {"loss": x, "names": ["a"]}


def test_a_model_that_returns_no_tensor_is_refused(take: Callable[[nn.Module], Split]) -> None:
    with pytest.raises(ProjectError, match="returns no tensor"):
        take(Mute())
