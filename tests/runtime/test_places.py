"""Where tokens stand: masks, positions along one axis or several, places in a cache."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.errors import BundleError, InputError
from mmedge.generation import Generation
from mmedge.runtime.places import Places
from mmedge.runtime.prompt import Prompt, read_prompt
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ComponentSpec

GENERATION = Generation(
    decoder="decoder",
    token_input="ids",
    logits_output="logits",
    cache={},
    start_token_ids=(1, 5),
    end_token_ids=(2,),
    pad_token_id=0,
    max_new_tokens=8,
    prompt="ids",
    prompt_mask="mask",
    prompt_embeddings="embeds",
    mask_input="mask",
    position_input="positions",
    cache_position_input="places",
)
INPUTS = (
    TensorSpec("ids", "int64", ("batch", "length")),
    TensorSpec("mask", "int64", ("batch", "total")),
    TensorSpec("places", "int64", ("length",)),
)


def decoder(*position_shape: int | str, dtype: str = "int64") -> ComponentSpec:
    positions = TensorSpec("positions", dtype, position_shape or ("batch", "length"))
    return ComponentSpec("decoder", "text", (*INPUTS, positions), (), {})


def steps(places: Places, count: int) -> list[dict[str, Array]]:
    found = []
    for _ in range(count):
        found.append(places.feeds())
        places.advance()
    return found


def prompt(mask: list[list[int]], positions: Array | None = None) -> Prompt:
    array = np.array(mask)
    return Prompt(ids=np.full(array.shape, 7), mask=array, positions=positions)


def test_positions_count_what_is_not_padding() -> None:
    first, second, third = steps(Places(GENERATION, decoder(), prompt([[0, 0, 1], [1, 1, 1]])), 3)
    assert first["positions"].tolist() == [[0, 0, 0], [0, 1, 2]]
    assert second["positions"].tolist() == [[1], [3]]
    assert third["positions"].tolist() == [[2], [4]]
    assert first["mask"].tolist() == [[0, 0, 1], [1, 1, 1]]
    assert third["mask"].tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert [step["places"].tolist() for step in (first, second, third)] == [[0, 1, 2], [3], [4]]


def test_token_types_go_on_as_the_new_ones_are() -> None:
    generation = msgspec.structs.replace(
        GENERATION, token_types_input="types", prompt_token_types="kinds", new_token_type=1
    )
    spec = TensorSpec("types", "int64", ("batch", "total"))
    taking = msgspec.structs.replace(decoder(), inputs=(*decoder().inputs, spec))
    begun = Prompt(ids=np.full((1, 3), 7), types=np.array([[2, 2, 0]]))
    found = [step["types"].tolist() for step in steps(Places(generation, taking, begun), 3)]
    assert found == [[[2, 2, 0]], [[2, 2, 0, 1]], [[2, 2, 0, 1, 1]]]
    fixed = msgspec.structs.replace(generation, capacity=5)
    spec = TensorSpec("types", "int64", ("batch", 5))
    taking = msgspec.structs.replace(decoder(), inputs=(*decoder().inputs, spec))
    found = [step["types"].tolist() for step in steps(Places(fixed, taking, begun), 2)]
    assert found == [[[2, 2, 0, 1, 1]], [[2, 2, 0, 1, 1]]]


def test_token_types_are_one_for_each_token() -> None:
    with pytest.raises(BundleError, match="token types are not one for each"):
        Prompt(ids=np.full((1, 3), 7), types=np.array([[2, 2]]))


def test_a_fixed_capacity_is_masked_where_nothing_is_written() -> None:
    generation = msgspec.structs.replace(GENERATION, capacity=6)
    inputs = [
        TensorSpec("mask", "int64", ("batch", 6)) if spec.name == "mask" else spec
        for spec in decoder().inputs
    ]
    taking = msgspec.structs.replace(decoder(), inputs=tuple(inputs))
    first, second = steps(Places(generation, taking, prompt([[0, 1, 1]])), 2)
    assert first["mask"].tolist() == [[0, 1, 1, 0, 0, 0]]
    assert second["mask"].tolist() == [[0, 1, 1, 1, 0, 0]]


def test_a_mask_that_grows_tells_how_much_of_a_fixed_capacity_is_written() -> None:
    generation = msgspec.structs.replace(GENERATION, capacity=6)
    first, second = steps(Places(generation, decoder(), prompt([[0, 1, 1]])), 2)
    assert first["mask"].tolist() == [[0, 1, 1]]
    assert second["mask"].tolist() == [[0, 1, 1, 1]]


def test_a_new_token_is_beyond_the_largest_position_of_all_axes() -> None:
    """Qwen2-VL: an image's tokens stand in a plane, and the text goes on behind it."""
    time, height, width = [0, 1, 1, 1, 1, 3], [0, 1, 1, 2, 2, 3], [0, 1, 4, 1, 4, 3]
    positions = np.array([time, height, width])[:, None]
    places = Places(GENERATION, decoder(3, "batch", "length"), prompt([[1] * 6], positions))
    first, second, third = steps(places, 3)
    np.testing.assert_array_equal(first["positions"], positions)
    assert second["positions"].tolist() == [[[5]]] * 3
    assert third["positions"].tolist() == [[[6]]] * 3


def test_padding_has_no_position_to_go_on_from() -> None:
    """Upstream writes 1 there, which is more than a lone token has."""
    positions = np.array([[[1, 1, 0]]] * 3)
    places = Places(GENERATION, decoder(3, "batch", "length"), prompt([[0, 0, 1]], positions))
    assert steps(places, 2)[1]["positions"].tolist() == [[[1]]] * 3


def test_without_positions_of_the_prompt_all_axes_count() -> None:
    places = Places(GENERATION, decoder(3, "batch", "length"), prompt([[0, 1, 1], [1, 1, 1]]))
    first, second = steps(places, 2)
    assert first["positions"].tolist() == [[[0, 0, 1], [0, 1, 2]]] * 3
    assert second["positions"].tolist() == [[[2], [3]]] * 3


@given(
    axes=st.integers(1, 4),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    count=st.integers(1, 5),
)
def test_every_later_position_is_one_more(
    axes: int, lengths: list[int], seed: int, count: int
) -> None:
    longest = max(lengths)
    mask = np.arange(longest) >= longest - np.array(lengths)[:, None]
    positions = np.random.default_rng(seed).integers(0, 9, (axes, *mask.shape))
    places = Places(
        GENERATION,
        decoder(axes, "batch", "length"),
        prompt(mask.astype(np.int64).tolist(), positions),
    )
    later = np.concatenate([step["positions"] for step in steps(places, count + 1)[1:]], axis=2)
    for i, own in enumerate(mask):
        largest = positions[:, i, own].max()
        np.testing.assert_array_equal(later[:, i], [largest + 1 + np.arange(count)] * axes)


def test_what_the_decoder_declares_is_what_it_gets() -> None:
    (first,) = steps(Places(GENERATION, decoder(dtype="int32"), prompt([[1, 1]])), 1)
    assert first["positions"].dtype == np.int32
    assert all(array.flags["C_CONTIGUOUS"] for array in first.values())
    plain = msgspec.structs.replace(
        GENERATION, mask_input=None, position_input=None, cache_position_input=None
    )
    assert Places(plain, decoder(), prompt([[1, 1]])).feeds() == {}


@pytest.mark.parametrize(
    ("shape", "positions", "problem"),
    [
        (("axes", "batch", "length"), None, "how many axes"),
        (("batch", "length"), np.zeros((3, 1, 2), int), "not what decoder input 'positions' takes"),
        ((3, "batch", "length"), np.zeros((1, 2), int), "not what decoder input 'positions' takes"),
        (("batch", "length"), np.zeros((1, 5), int), "not one for each token"),
    ],
)
def test_positions_that_do_not_fit(
    shape: tuple[int | str, ...], positions: Array | None, problem: str
) -> None:
    with pytest.raises(BundleError, match=problem):
        Places(GENERATION, decoder(*shape), prompt([[1, 1]], positions))


# --- the prompt itself ---


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_continue(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="nothing to continue"):
        Prompt(ids=np.zeros(shape, np.int64))
    with pytest.raises(InputError, match="nothing to continue"):
        Prompt(ids=np.zeros((2, 1), np.int64), embeddings=np.zeros((*shape, 4), np.float32))


def test_a_mask_of_another_size() -> None:
    with pytest.raises(BundleError, match="not one entry for each token"):
        Prompt(ids=np.ones((1, 3), np.int64), mask=np.ones((1, 2), np.int64))


def test_a_mask_is_of_what_the_decoder_is_fed() -> None:
    """Embeddings may be longer than the ids, as with an image before the text."""
    embeddings, mask = np.zeros((1, 5, 4), np.float32), np.array([[0, 0, 1, 1, 1]])
    found = Prompt(ids=np.ones((1, 3), np.int64), embeddings=embeddings, mask=mask)
    assert (found.length, found.padding.tolist()) == (5, [[0]])
    alone = Prompt(ids=np.ones((1, 5), np.int64), mask=mask)
    assert alone.padding.tolist() == [[2]]


def test_start_tokens_where_the_prompt_is_absent() -> None:
    found = read_prompt(GENERATION, lambda source: None, 3)
    assert found is not None
    assert found.ids.tolist() == [[1, 5]] * 3
    needs = msgspec.structs.replace(GENERATION, start_token_ids=())
    assert read_prompt(needs, lambda source: None, 3) is None


def test_the_prompt_is_what_the_sources_say() -> None:
    values = {"ids": np.array([[4, 5]], np.int32), "mask": np.array([[1, 1]])}
    found = read_prompt(GENERATION, lambda source: values.get(source or ""), 9)
    assert found is not None
    assert (found.ids.tolist(), found.ids.dtype, found.batch) == ([[4, 5]], np.int64, 1)
    assert found.encoder_ids is values["ids"]
    embeds = {"embeds": np.zeros((2, 3, 4), np.float32)}
    image_only = read_prompt(GENERATION, lambda source: embeds.get(source or ""), 9)
    assert image_only is not None
    assert (image_only.batch, image_only.length, image_only.ids.tolist()) == (2, 3, [[1, 5]] * 2)
