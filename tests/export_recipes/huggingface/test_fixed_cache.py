"""A cache of fixed capacity says what the growing one says, in torch and in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmedge_export.huggingface.cache_tensors import cache_names
from mmedge_export.huggingface.causal_step import CausalStep
from mmedge_export.huggingface.fixed_cache import PLACES, with_capacity, written
from mmedge_export.huggingface.transformers_aid import transformers_aid
from transformers import LlamaConfig, LlamaForCausalLM

from mmedge.errors import InputError, ProjectError
from mmedge.graph.export import export_component
from mmedge.graph.files import graph_specs, save_graph
from mmedge.graph.passes import DEFAULT_PASSES, run_passes
from mmedge.recipes import ComponentModule, Split
from mmedge.runtime.execute import execute
from mmedge.runtime.onnxruntime_runner import OnnxRuntimeRunner
from mmedge.tensors import Array, Axis, TensorSpec
from mmedge.verify.decoder_steps import decoder_steps
from mmedge.wiring import ComponentSpec, Generation, ModelInput, Wiring

CAPACITY, LAYERS, KEY_HEADS, SIZE = 24, 2, 2, 8
PAST, NEW = 5, 3


@pytest.fixture(scope="module")
def step() -> CausalStep:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=4 * SIZE,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=KEY_HEADS,
        max_position_embeddings=64,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # so that answers differ
    return CausalStep(model, "input_ids", mask=True, positions=True)


@pytest.fixture(scope="module")
def growing(step: CausalStep) -> Split:
    """The step alone, as a model that continues token ids."""
    names = cache_names(LAYERS)
    present = cache_names(LAYERS, stem="present")
    generation = Generation(
        decoder="decoder",
        token_input="input_ids",
        logits_output="logits",
        cache=dict(zip(names, present, strict=True)),
        start_token_ids=(),
        end_token_ids=(39,),
        pad_token_id=0,
        max_new_tokens=12,
        prompt="prompt",
        prompt_mask="prompt_mask",
        mask_input="attention_mask",
        position_input="position_ids",
    )
    past = ("batch", KEY_HEADS, "past", SIZE)
    return Split(
        components=(ComponentModule("decoder", step, {}, ("logits", *present), "text", "model."),),
        outputs={"tokens": "decoder.tokens"},
        reference=lambda inputs: {},
        generation=generation,
        decoder_inputs=(
            TensorSpec("input_ids", "int64", ("batch", "new")),
            TensorSpec("attention_mask", "int64", ("batch", "total")),
            TensorSpec("position_ids", "int64", ("batch", "new")),
            *(TensorSpec(name, "float32", past) for name in names),
        ),
        decoder_examples={
            "input_ids": torch.randint(40, (2, NEW)),
            "attention_mask": torch.ones(2, PAST + NEW, dtype=torch.int64),
            "position_ids": torch.arange(PAST, PAST + NEW).repeat(2, 1),
            **{name: torch.randn(2, KEY_HEADS, PAST, SIZE) for name in names},
        },
    )


@pytest.fixture(scope="module")
def fixed(growing: Split) -> Split:
    return with_capacity(growing, CAPACITY)


Generate = Callable[[dict[str, Array]], Array]


@dataclass(frozen=True)
class Engine:
    """One decoder, exported and open."""

    wiring: Wiring
    graph: ir.Model
    runner: OnnxRuntimeRunner


@pytest.fixture(scope="module")
def engines(
    growing: Split, fixed: Split, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Engine]:
    return {
        name: _engine(split, tmp_path_factory.mktemp(name))
        for name, split in (("growing", growing), ("fixed", fixed))
    }


@pytest.fixture(scope="module")
def generate(engines: dict[str, Engine]) -> dict[str, Generate]:
    """ "growing", "fixed" and "bound": the loop around each engine."""
    return {
        "growing": lambda inputs: _tokens(engines["growing"], inputs),
        "fixed": lambda inputs: _tokens(engines["fixed"], inputs),
        "bound": lambda inputs: _tokens(engines["fixed"], inputs, bound=True),
    }


def _engine(split: Split, directory: Path) -> Engine:
    assert split.generation is not None
    (component,) = split.components
    model = export_component(
        component,
        split.decoder_inputs,
        [split.decoder_examples[spec.name] for spec in split.decoder_inputs],
        axes={},
        opset=23,
        project_directory=directory,
        aid=transformers_aid(component.module),
    )
    model, _ = run_passes(model, DEFAULT_PASSES)
    save_graph(model, directory / "decoder.onnx")
    specs = graph_specs(model)
    spec = ComponentSpec("decoder", "text", *specs, {})
    inputs = [TensorSpec(n, "int64", ("batch", "length")) for n in ("prompt", "prompt_mask")]
    axes = {"batch": Axis(1, 1, 8), "length": Axis(1, 1, 64)}
    wiring = Wiring(
        tuple(map(ModelInput, inputs)),
        (spec,),
        split.outputs,
        axes=axes,
        generation=split.generation,
    )
    return Engine(wiring, model, OnnxRuntimeRunner(directory / "decoder.onnx", threads=1))


def _tokens(engine: Engine, inputs: dict[str, Array], *, bound: bool = False) -> Array:
    def bind(_name, cache, buffers):  # type: ignore[no-untyped-def]
        return engine.runner.bound(cache, buffers)

    def run(_name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        return engine.runner.infer(feeds)

    return execute(engine.wiring, inputs, run, bind=bind if bound else None)["tokens"]


def prompt(*rows: list[int]) -> dict[str, Array]:
    """Prompts, padded with 0 on the left."""
    longest = max(map(len, rows))
    padded = [[0] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return {"prompt": np.array(padded), "prompt_mask": np.array(mask)}


@pytest.mark.parametrize("kind", ["fixed", "bound"])
@pytest.mark.parametrize(
    "rows", [([3, 8, 1],), ([7],), ([9, 2, 4, 30, 11], [5, 6]), ([1, 2], [3], [4, 5, 6, 7])]
)
def test_the_tokens_are_those_of_the_growing_cache(generate, kind, rows):
    wanted = generate["growing"](prompt(*rows))
    assert wanted.shape[1] > 4
    np.testing.assert_array_equal(generate[kind](prompt(*rows)), wanted)
    np.testing.assert_array_equal(generate[kind](prompt(*rows)), wanted)


def test_the_last_place_is_used_and_no_more(generate):
    full = prompt([3] * (CAPACITY - 2))
    assert generate["bound"](full).shape[1] <= 3
    with pytest.raises(InputError):
        generate["bound"](prompt([3] * (CAPACITY + 1)))


@pytest.mark.parametrize("number", range(3))
def test_a_step_in_torch_is_the_growing_one(growing, fixed, number):
    (before,), (after,) = growing.components, fixed.components
    small, large = (list(decoder_steps(split))[number] for split in (growing, fixed))
    with torch.no_grad():
        wanted, found = before.module(*small.values()), after.module(*large.values())
    torch.testing.assert_close(found[0], wanted[0])
    total = small["attention_mask"].shape[1]
    for cache, grown in zip(found[1:], wanted[1:], strict=True):
        assert cache.shape[2] == CAPACITY
        torch.testing.assert_close(cache[:, :, :total], grown)


@settings(deadline=None, max_examples=30)
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 4),
    data=st.data(),
)
def test_written_changes_the_places_and_nothing_else(shape, data):
    batch, heads, capacity, size = shape
    count = data.draw(st.integers(0, capacity))
    first = data.draw(st.integers(0, capacity - count))
    past, new = torch.randn(*shape), torch.randn(batch, heads, count, size)
    found = written(past, new, torch.arange(first, first + count))
    wanted = past.clone()
    wanted[:, :, first : first + count] = new
    torch.testing.assert_close(found, wanted)


def test_the_graph_writes_by_scattering_alone(engines):
    graph = engines["fixed"].graph.graph
    assert PLACES in [value.name for value in graph.inputs]
    presents = [value.producer() for value in graph.outputs[1:]]
    assert {node.op_type for node in presents} == {"ScatterND"}
    assert all(node.inputs[0].is_graph_input() for node in presents)


def test_too_small_a_capacity_is_refused(growing):
    with pytest.raises(ProjectError, match="no room for the example"):
        with_capacity(growing, PAST + NEW - 1)
    assert with_capacity(growing, PAST + NEW).generation.capacity == PAST + NEW


def test_a_decoder_without_a_mask_is_refused(growing):
    generation = msgspec.structs.replace(growing.generation, mask_input=None)
    without = replace(growing, generation=generation)
    with pytest.raises(ProjectError, match="cannot have a fixed capacity"):
        with_capacity(without, CAPACITY)
