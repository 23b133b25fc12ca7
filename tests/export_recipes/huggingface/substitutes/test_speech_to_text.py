"""Speech2Text's mask is upstream's, for sounds of any length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmedge_export.huggingface.substitutes import substituted


@pytest.fixture(scope="module")
def model(checkpoint: Callable[[str], Path]) -> Any:
    return zoo.load(checkpoint("speech_to_text"))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4), longest=st.integers(1, 40))
def test_masks_are_upstreams(model: Any, lengths: list[int], longest: int) -> None:
    mask = torch.zeros(len(lengths), longest, dtype=torch.int64)
    for row, length in zip(mask, lengths, strict=True):
        row[:length] = 1
    places = int(model._get_feat_extract_output_lengths(torch.tensor(longest)))
    expected = model._get_feature_vector_attention_mask(places, mask)
    with substituted(model):
        found = model._get_feature_vector_attention_mask(places, mask)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
