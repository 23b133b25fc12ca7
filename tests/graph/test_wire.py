"""Which components are kept: those that an output needs, or the generating loop reads."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from torch import nn

from mmedge.graph.wire import wire
from mmedge.project import Project, project_from_mapping
from mmedge.recipes import ComponentModule, Split
from mmedge.tensors import TensorSpec
from mmedge.wiring import Generation, Wiring

IDS = TensorSpec("ids", "int64", ("batch", "length"))
HIDDEN = TensorSpec("hidden", "float32", ("batch", "length", 8))
# Component -> what it is bound to and what it makes.
PARTS = {
    "vision": ({"pixels": "pixels"}, "features"),
    "embed": ({}, "embedded"),
    "prompter": ({"features": "vision.features", "ids": "ids"}, "prompt"),
    "places": ({"ids": "ids"}, "positions"),
    "kinds": ({"ids": "ids"}, "types"),
    "nobody": ({"ids": "ids"}, "unread"),
    "decoder": ({}, "logits"),
}
GENERATION = Generation(
    decoder="decoder",
    token_input="tokens",
    logits_output="logits",
    cache={},
    start_token_ids=(),
    end_token_ids=(1,),
    pad_token_id=0,
    max_new_tokens=4,
    prompt="ids",
    embed="embed",
    prompt_embeddings="prompter.prompt",
    position_input="positions",
    prompt_positions="places.positions",
    token_types_input="kinds",
    prompt_token_types="kinds.types",
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    inputs = {
        "ids": {"shape": ["batch", "length"], "dtype": "int64", "modality": "text"},
        "pixels": {"shape": ["batch", 3, 8, 8], "modality": "image"},
    }
    return project_from_mapping(tmp_path, {"name": "tiny", "inputs": inputs})


def wired(project: Project, generation: Generation | None, outputs: dict[str, str]) -> Wiring:
    components, specs = [], {}
    for name, (bindings, output) in PARTS.items():
        components.append(ComponentModule(name, nn.Identity(), dict(bindings), (output,)))
        inputs = [msgspec.structs.replace(IDS, name=argument) for argument in bindings]
        specs[name] = (tuple(inputs), (msgspec.structs.replace(HIDDEN, name=output),))
    split = Split(tuple(components), outputs, lambda inputs: {}, generation)
    return wire(project, split, specs)


def kept(wiring: Wiring) -> list[str]:
    return [component.name for component in wiring.components]


def test_what_generation_reads_is_kept_and_what_that_needs(project: Project) -> None:
    wiring = wired(project, GENERATION, {"tokens": "decoder.tokens"})
    assert kept(wiring) == ["vision", "embed", "prompter", "places", "kinds", "decoder"]


@pytest.mark.parametrize(
    ("changes", "without"),
    [
        ({"prompt_positions": None, "position_input": None}, {"nobody", "places"}),
        ({"prompt_token_types": None, "token_types_input": None}, {"nobody", "kinds"}),
        ({"prompt_embeddings": None}, {"nobody", "prompter", "vision"}),
        ({"embed": None}, {"nobody", "embed"}),
        ({"encoder_ids": "nobody.unread"}, set()),
    ],
    ids=["positions", "kinds", "embeddings", "embed", "unread"],
)
def test_each_source_keeps_its_component(
    project: Project, changes: dict[str, str | None], without: set[str]
) -> None:
    generation = msgspec.structs.replace(GENERATION, **changes)
    found = kept(wired(project, generation, {"tokens": "decoder.tokens"}))
    assert found == [name for name in PARTS if name not in without]


def test_without_generation_the_outputs_decide(project: Project) -> None:
    wiring = wired(project, None, {"prompt": "prompter.prompt"})
    assert kept(wiring) == ["vision", "prompter"]
    modalities = {component.name: component.modality for component in wiring.components}
    assert modalities == {"vision": "image", "prompter": "multimodal"}
