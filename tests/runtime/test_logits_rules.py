"""Every rule against the class of transformers that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig
from transformers.generation import logits_process as upstream
from transformers.generation.utils import GenerationMixin

from mmedge.errors import BundleError
from mmedge.generation import LogitsRules
from mmedge.runtime.logits_rules import SoFar, apply_rules, check_vocabulary
from mmedge.tensors import Array

VOCABULARY = 11
TOKEN = st.integers(0, VOCABULARY - 1)
TOKENS = st.lists(TOKEN, min_size=1, max_size=4, unique=True).map(tuple)
PENALTY = st.floats(0.25, 4.0, width=32)


@st.composite
def situations(draw: Callable[..., Any]) -> tuple[Array, SoFar]:
    """Logits, some of them masked, and what was said before; ids may exceed the logits'."""
    batch, length = draw(st.integers(1, 4)), draw(st.integers(0, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.normal(size=(batch, VOCABULARY)).astype(np.float32) * 3
    scores[rng.random(scores.shape) < draw(st.sampled_from([0, 0.3]))] = -np.inf
    ids = rng.integers(0, draw(st.sampled_from([3, VOCABULARY, VOCABULARY + 4])), (batch, length))
    started = draw(st.integers(0, length))
    return scores, SoFar(
        ids=ids,
        started=started,
        longest=length + draw(st.integers(1, 3)),
        end_ids=np.array(draw(TOKENS)),
        padding=rng.integers(0, max(started, 1), (batch, 1)),
        encoder_ids=rng.integers(0, VOCABULARY, (batch, draw(st.integers(0, 5)))),
    )


def penalty(rules: LogitsRules, so_far: SoFar) -> Any:
    padding = torch.tensor(so_far.padding[:, 0])
    return upstream.RepetitionPenaltyLogitsProcessor(rules.repetition_penalty, padding)


def encoder_penalty(rules: LogitsRules, so_far: SoFar) -> Any:
    ids = torch.tensor(so_far.encoder_ids)
    return upstream.EncoderRepetitionPenaltyLogitsProcessor(rules.encoder_repetition_penalty, ids)


def ngrams(rules: LogitsRules, so_far: SoFar) -> Any:
    return upstream.NoRepeatNGramLogitsProcessor(rules.no_repeat_ngram_size)


def bad_words(rules: LogitsRules, so_far: SoFar) -> Any:
    words = [list(word) for word in rules.bad_words_ids]
    if all(len(word) == 1 and word[0] in so_far.end_ids for word in words):
        return lambda ids, scores: scores  # transformers refuses a list that is then empty
    return upstream.NoBadWordsLogitsProcessor(words, torch.tensor(so_far.end_ids))


def min_length(rules: LogitsRules, so_far: SoFar) -> Any:
    return upstream.MinLengthLogitsProcessor(rules.min_length, torch.tensor(so_far.end_ids))


def min_new_tokens(rules: LogitsRules, so_far: SoFar) -> Any:
    ends = torch.tensor(so_far.end_ids)
    return upstream.MinNewTokensLengthLogitsProcessor(so_far.started, rules.min_new_tokens, ends)


def forced_bos(rules: LogitsRules, so_far: SoFar) -> Any:
    return upstream.ForcedBOSTokenLogitsProcessor(rules.forced_bos_token_id)


def forced_eos(rules: LogitsRules, so_far: SoFar) -> Any:
    ids = list(rules.forced_eos_token_id)
    return upstream.ForcedEOSTokenLogitsProcessor(so_far.longest, ids)


def suppress(rules: LogitsRules, so_far: SoFar) -> Any:
    return upstream.SuppressTokensLogitsProcessor(rules.suppress_tokens)


def begin_suppress(rules: LogitsRules, so_far: SoFar) -> Any:
    return upstream.SuppressTokensAtBeginLogitsProcessor(
        rules.begin_suppress_tokens, so_far.started
    )


RULES = {
    "repetition_penalty": (PENALTY, penalty),
    "encoder_repetition_penalty": (PENALTY, encoder_penalty),
    "no_repeat_ngram_size": (st.integers(1, 4), ngrams),
    "bad_words_ids": (
        st.lists(st.lists(TOKEN, min_size=1, max_size=3).map(tuple), min_size=1, max_size=5).map(
            tuple
        ),
        bad_words,
    ),
    "min_length": (st.integers(1, 12), min_length),
    "min_new_tokens": (st.integers(1, 12), min_new_tokens),
    "forced_bos_token_id": (TOKEN, forced_bos),
    "forced_eos_token_id": (TOKENS, forced_eos),
    "suppress_tokens": (st.lists(st.integers(0, VOCABULARY + 5), max_size=4).map(tuple), suppress),
    "begin_suppress_tokens": (TOKENS, begin_suppress),
}


def test_no_rule_is_left_out() -> None:
    assert set(RULES) == set(LogitsRules.__struct_fields__)


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
@settings(max_examples=40)
def test_a_rule_is_that_of_transformers(name: str, data: st.DataObject) -> None:
    values, processor = RULES[name]
    scores, so_far = data.draw(situations())
    rules = LogitsRules(**{name: data.draw(values)})
    found = apply_rules(rules, scores, so_far)
    ids = torch.tensor(so_far.ids, dtype=torch.int64)
    wanted = processor(rules, so_far)(ids, torch.tensor(scores))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-6)


class Model(GenerationMixin):
    """As much of a model as choosing its logits processors takes."""

    def __init__(self, encoder_decoder: bool) -> None:
        self.config = type("Config", (), {"is_encoder_decoder": encoder_decoder})()


@pytest.mark.filterwarnings("ignore:Passing")  # that penalties overlook an absent prompt
@given(situation=situations(), data=st.data())
@settings(max_examples=40)
def test_all_rules_together_are_applied_as_generate_does(
    situation: tuple[Array, SoFar], data: st.DataObject
) -> None:
    scores, so_far = situation
    named = {
        name: data.draw(values)
        for name, (values, _) in RULES.items()
        if data.draw(st.booleans(), label=name)
    }
    if set(named.get("bad_words_ids", ())) <= {(end,) for end in so_far.end_ids.tolist()}:
        named.pop("bad_words_ids", None)  # transformers refuses a list that is then empty
    if "min_new_tokens" in named:
        named.pop("min_length", None)  # as generate does before it makes the processors
    mask = (np.arange(max(so_far.started, 1)) >= so_far.padding).astype(np.int64)
    wanted = by_transformers(named, scores, so_far, torch.tensor(mask))
    found = apply_rules(LogitsRules(**named), scores, so_far)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def by_transformers(named: dict[str, Any], scores: Array, so_far: SoFar, mask: Any) -> Array:
    config = GenerationConfig(max_length=so_far.longest)
    for name, value in named.items():
        nested = isinstance(value, tuple)
        setattr(
            config,
            name,
            [list(v) if isinstance(v, tuple) else v for v in value] if nested else value,
        )
    config._eos_token_tensor = torch.tensor(so_far.end_ids)
    processors = Model(encoder_decoder=False)._get_logits_processor(
        config,
        input_ids_seq_length=so_far.started,
        encoder_input_ids=torch.tensor(so_far.encoder_ids),
        model_kwargs={"attention_mask": mask},
    )
    ids = torch.tensor(so_far.ids, dtype=torch.int64)
    result: Array = processors(ids, torch.tensor(scores)).numpy()
    return result


def test_without_rules_nothing_changes() -> None:
    scores = np.float32([[1, -np.inf, 3]])
    empty = np.zeros((1, 0), np.int64)
    so_far = SoFar(empty, 0, 5, np.array([1]), np.zeros((1, 1), np.int64))
    np.testing.assert_array_equal(apply_rules(LogitsRules(), scores, so_far), scores)


@pytest.mark.parametrize(
    "rules",
    [
        LogitsRules(bad_words_ids=((1,), (0, 3))),
        LogitsRules(forced_bos_token_id=3),
        LogitsRules(forced_eos_token_id=(0, 3)),
    ],
)
def test_a_token_beyond_the_vocabulary_is_told(rules: LogitsRules) -> None:
    check_vocabulary(rules, 4)
    with pytest.raises(BundleError, match="a token that the decoder does not"):
        check_vocabulary(rules, 3)


@pytest.mark.parametrize(
    "fields",
    [
        {"repetition_penalty": 0.0},
        {"encoder_repetition_penalty": float("nan")},
        {"no_repeat_ngram_size": -1},
        {"min_length": -1},
        {"min_new_tokens": -2},
        {"bad_words_ids": [[]]},
        {"bad_words_ids": [[1, -1]]},
        {"forced_bos_token_id": -1},
        {"forced_eos_token_id": [-1]},
    ],
)
def test_rules_without_a_meaning_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((msgspec.ValidationError, ValueError)):
        msgspec.convert(fields, LogitsRules)
