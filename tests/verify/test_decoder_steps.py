"""The calls that a decoder's graph is compared at: as traced, without a past, with one token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo

from mmedge.data.processed import samples_of_processor
from mmedge.proposing import propose
from mmedge.recipes import Split, load_recipe
from mmedge.verify.decoder_steps import decoder_steps
from mmedge.verify.sides import to_torch

Checkpoint = Callable[[str], Path]
# Growing caches with and without masks, positions in three axes, token types; an encoder beside.
NAMES = ("whisper", "blip_captioning", "git", "llava", "qwen2_vl", "gemma3")


@pytest.fixture(scope="module")
def taken(checkpoint: Checkpoint) -> Callable[..., Split]:
    made: dict[Any, Split] = {}

    def split(name: str, capacity: int | None = None) -> Split:
        if (name, capacity) not in made:
            directory = checkpoint(name)
            project = propose(directory).project
            options = dict(project.file.recipe) | ({"capacity": capacity} if capacity else {})
            recipe = load_recipe(options.pop("name"))
            example = to_torch(samples_of_processor(project).first(2))
            made[name, capacity] = recipe.split(zoo.load(directory), project, options, example)
        return made[name, capacity]

    return split


def lengths(split: Split, step: dict[str, torch.Tensor]) -> tuple[int, int]:
    """(past, new) as the token input and the growing axis of each cache have it."""
    assert split.generation is not None
    specs = {spec.name: spec for spec in split.decoder_inputs}
    tokens = specs[split.generation.token_input]
    past = set()
    for name in split.generation.cache:
        axis = next(i for i, dim in specs[name].dynamic_axes.items() if dim != tokens.shape[0])
        past.add(step[name].shape[axis])
    (only,) = past
    return only, step[split.generation.token_input].shape[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_and_a_token_are_steps_too(taken: Callable[..., Split], name: str) -> None:
    split = taken(name)
    generation = split.generation
    assert generation is not None
    steps = list(decoder_steps(split))
    past, new = lengths(split, steps[0])
    assert past > 1
    assert new > 1
    assert [lengths(split, step) for step in steps] == [(past, new), (0, new), (past, 1)]
    names = [spec.name for spec in split.decoder_inputs]
    for step in steps:
        before, tokens = lengths(split, step)
        assert [name for name in step if name in names] == names
        for total in (generation.mask_input, generation.token_types_input):
            assert total is None or step[total].shape[1] == before + tokens
        if generation.position_input is not None:
            assert step[generation.position_input].shape[-1] == tokens
        for spec in split.decoder_inputs:
            fixed = {i: dim for i, dim in enumerate(spec.shape) if isinstance(dim, int)}
            assert {i: step[spec.name].shape[i] for i in fixed} == fixed
            assert str(step[spec.name].dtype) == f"torch.{spec.dtype}"
            assert step[spec.name].is_contiguous()


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_the_decoder_takes_each(taken: Callable[..., Split], name: str) -> None:
    split = taken(name)
    assert split.generation is not None
    decoder = next(c for c in split.components if c.name == split.generation.decoder)
    assert not decoder.bindings
    for step in decoder_steps(split):
        past, new = lengths(split, step)
        with torch.no_grad():
            logits, present, *_ = decoder.module(*step.values())
        assert logits.shape[1] in (1, new)
        assert past + new in present.shape


def test_a_cache_of_fixed_capacity_keeps_its_size(taken: Callable[..., Split]) -> None:
    split = taken("llava", capacity=400)
    generation = split.generation
    assert generation is not None
    assert generation.cache_position_input is not None
    first, prompt, token = decoder_steps(split)
    new = first[generation.token_input].shape[1]
    past = int(first[generation.cache_position_input][0])
    for step, (before, tokens) in zip(
        (first, prompt, token), ((past, new), (0, new), (past, 1)), strict=True
    ):
        places = step[generation.cache_position_input]
        assert places.tolist() == list(range(before, before + tokens))
        assert step[generation.token_input].shape[1] == tokens
        for name in generation.cache:
            assert 400 in step[name].shape
