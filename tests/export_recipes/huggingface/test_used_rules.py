"""Rules read from the logits processors of a real run do to logits what those do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmedge_export.huggingface.recording import record_generate
from mmedge_export.huggingface.used_rules import used_rules
from tiny_encoder_decoders import MODELS

from mmedge.errors import ProjectError
from mmedge.runtime.logits_rules import SoFar, apply_rules
from mmedge.wiring import LogitsRules


@pytest.fixture(scope="module")
def bart() -> Any:
    torch.set_num_threads(1)
    return MODELS["bart"]()


def recorded(bart: Any, **settings: Any) -> Any:
    model, example, _ = bart
    stored = model.generation_config
    plain = {"no_repeat_ngram_size": 0, "forced_bos_token_id": None, "forced_eos_token_id": None}
    try:
        model.generation_config = type(stored)(**{**stored.to_dict(), **plain, **settings})
        return record_generate(model, example, max_new_tokens=4)
    finally:
        model.generation_config = stored


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repetition_penalty": 1.5},
        {"encoder_repetition_penalty": 1.25},
        {"no_repeat_ngram_size": 2},
        {"bad_words_ids": [[7], [8, 9]]},
        {"min_length": 3},
        {"min_new_tokens": 2},
        {"forced_bos_token_id": 5},
        {"forced_eos_token_id": 2},
        {"suppress_tokens": [4, 5]},
        {"begin_suppress_tokens": [6]},
        {"begin_suppress_tokens": [6], "forced_bos_token_id": 5},
    ],
    ids=str,
)
def test_a_setting_of_the_checkpoint_becomes_a_rule(bart: Any, settings: dict[str, Any]) -> None:
    recording = recorded(bart, **settings)
    rules = used_rules(recording.processors, prompt_length=recording.prompt.shape[1])
    expected = LogitsRules(
        **{
            name: tuple(tuple(v) if isinstance(v, list) else v for v in value)
            if isinstance(value, list)
            else (value,)
            if name == "forced_eos_token_id"
            else value
            for name, value in settings.items()
        }
    )
    assert rules == expected


@given(seed=st.integers(0, 999), length=st.integers(1, 4))
def test_all_of_them_together_do_what_the_processors_do(bart: Any, seed: int, length: int) -> None:
    recording = recorded(
        bart,
        repetition_penalty=1.5,
        no_repeat_ngram_size=2,
        bad_words_ids=[[7], [8, 9]],
        min_new_tokens=2,
        forced_eos_token_id=2,
        suppress_tokens=[4, 5],
        begin_suppress_tokens=[6],
    )
    rules = used_rules(recording.processors, prompt_length=1)
    random = np.random.default_rng(seed)
    ids = random.integers(3, 12, (2, length))
    scores = random.normal(size=(2, 99)).astype(np.float32)
    expected = torch.from_numpy(scores)
    for processor in recording.processors:
        expected = processor(torch.from_numpy(ids), expected)
    so_far = SoFar(
        ids=ids, started=1, longest=5, end_ids=np.array([2]), padding=np.zeros((2, 1), np.int64)
    )
    np.testing.assert_allclose(apply_rules(rules, scores, so_far), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sequence_bias": [[[5], 2.0]]}, "SequenceBiasLogitsProcessor"),
        ({"encoder_no_repeat_ngram_size": 2}, "EncoderNoRepeatNGramLogitsProcessor"),
        ({"exponential_decay_length_penalty": (2, 1.5)}, "ExponentialDecayLengthPenalty"),
        ({"renormalize_logits": True}, "LogitNormalization"),
    ],
    ids=str,
)
def test_what_has_no_rule_is_refused_by_name(
    bart: Any, settings: dict[str, Any], named: str
) -> None:
    recording = recorded(bart, **settings)
    with pytest.raises(ProjectError, match=named):
        used_rules(recording.processors, prompt_length=1)


def test_a_ban_elsewhere_than_at_the_first_place_is_refused(bart: Any) -> None:
    recording = recorded(bart, begin_suppress_tokens=[6])
    with pytest.raises(ProjectError, match="elsewhere"):
        used_rules(recording.processors, prompt_length=2)
