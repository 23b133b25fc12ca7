"""Moonshine's length of a sound, counted in whole numbers, is the one that upstream rounds to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mmedge_export.huggingface.substitutes.moonshine import SUBSTITUTES, output_length
from tiny_encoder_decoders import MODELS

MODEL = MODELS["moonshine"]()[0]
SHORTEST = 127 + 64 * (7 - 1 + 3 * 2)


@given(samples=st.integers(SHORTEST, 10_000_000))
def test_the_length_is_upstreams(samples: int) -> None:
    assert output_length(MODEL, samples) == MODEL._get_feat_extract_output_lengths(samples)


def test_it_stands_for_the_function_that_is_installed() -> None:
    (substitute,) = SUBSTITUTES
    owner = substitute.owner_in(type(MODEL).__mro__)
    assert owner is not None
    with substitute.active(owner):
        assert MODEL._get_feat_extract_output_lengths(SHORTEST) == 1
    assert vars(owner)[substitute.method] is not output_length
