"""The whole loop against transformers' `generate`, greedy, with prompts, padding and rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BartConfig, BartForConditionalGeneration, GPT2Config, GPT2LMHeadModel

from mmedge.generation import Generation, LogitsRules
from mmedge.runtime.generate import generate
from mmedge.runtime.next_token import GenerateOptions
from mmedge.runtime.prompt import Prompt
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ComponentSpec

VOCABULARY, PAD = 24, 0
TOKEN = st.integers(1, VOCABULARY - 1)
TOKENS = st.lists(TOKEN, min_size=1, max_size=3, unique=True)
RULES: dict[str, Any] = {
    "repetition_penalty": st.floats(0.5, 3.0, width=32),
    "encoder_repetition_penalty": st.floats(0.5, 3.0, width=32),
    "no_repeat_ngram_size": st.integers(1, 3),
    "bad_words_ids": st.lists(st.lists(TOKEN, min_size=2, max_size=2), min_size=1, max_size=9),
    "min_length": st.integers(1, 9),
    "min_new_tokens": st.integers(1, 6),
    "forced_bos_token_id": TOKEN,
    "forced_eos_token_id": TOKENS,
    "suppress_tokens": TOKENS,
    "begin_suppress_tokens": TOKENS,
}
DECODER = ComponentSpec(
    "decoder",
    "text",
    (
        TensorSpec("input_ids", "int64", ("batch", "length")),
        TensorSpec("attention_mask", "int64", ("batch", "total")),
        TensorSpec("position_ids", "int64", ("batch", "length")),
        TensorSpec("past", "int64", ("batch", "past")),
    ),
    (TensorSpec("logits", "float32", ("batch", "length", VOCABULARY)),),
    {},
)


def gpt2() -> Any:
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=40, n_embd=16, n_layer=2, n_head=2,
        initializer_range=0.7, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def bart() -> Any:
    torch.manual_seed(2)
    config = BartConfig(
        vocab_size=VOCABULARY, d_model=16, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, max_position_embeddings=40, init_std=0.9, pad_token_id=PAD,
        bos_token_id=None, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    return BartForConditionalGeneration(config).eval()


MODELS = {"decoder alone": gpt2(), "encoder and decoder": bart()}


def run_gpt2(feeds: dict[str, Array]) -> dict[str, Array]:
    """The decoder; what it keeps of the past are the ids and positions themselves."""
    past, ids = feeds["past"], feeds["input_ids"]
    places = past[:, past.shape[1] // 2 :] if past.size else past
    all_ids = np.concatenate([past[:, : past.shape[1] // 2], ids], axis=1)
    positions = np.concatenate([places, feeds["position_ids"]], axis=1)
    with torch.no_grad():
        logits = MODELS["decoder alone"](
            torch.tensor(all_ids),
            attention_mask=torch.tensor(feeds["attention_mask"]),
            position_ids=torch.tensor(positions),
        ).logits
    return {
        "logits": logits[:, -ids.shape[1] :].numpy(),
        "present": np.concatenate([all_ids, positions], axis=1),
    }


@st.composite
def rules(draw: Any) -> dict[str, Any]:
    named = {name: draw(values) for name, values in RULES.items() if draw(st.booleans())}
    forced = {*named.get("forced_eos_token_id", []), named.get("forced_bos_token_id")}
    for name in ("suppress_tokens", "begin_suppress_tokens"):
        if name in named:  # both sides refuse that nothing is left
            named[name] = [token for token in named[name] if token not in forced]
    return named


def as_rules(named: dict[str, Any]) -> LogitsRules:
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in named.items()}
    if "bad_words_ids" in tuples:
        tuples["bad_words_ids"] = tuple(tuple(word) for word in named["bad_words_ids"])
    return LogitsRules(**tuples)


def by_transformers(
    model: Any, inputs: dict[str, Any], named: dict[str, Any], **options: Any
) -> Array:
    given = {name: torch.tensor(value) for name, value in inputs.items()}
    tokens: Array = model.generate(
        **given, **named, **options, do_sample=False, num_beams=1, pad_token_id=PAD
    ).numpy()
    return tokens


@pytest.mark.filterwarnings("ignore:Unfeasible length")
@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    limit=st.integers(1, 9),
    ends=TOKENS,
    named=rules(),
)
@settings(max_examples=30)
def test_a_padded_prompt_is_continued_as_upstream_does(
    seed: int, lengths: list[int], limit: int, ends: list[int], named: dict[str, Any]
) -> None:
    longest = max(lengths)
    mask = (np.arange(longest) >= longest - np.array(lengths)[:, None]).astype(np.int64)
    ids = np.random.default_rng(seed).integers(1, VOCABULARY, mask.shape) * mask
    wanted = by_transformers(
        MODELS["decoder alone"],
        {"input_ids": ids, "attention_mask": mask},
        named,
        max_new_tokens=limit,
        eos_token_id=ends,
    )[:, longest:]
    generation = Generation(
        decoder="decoder",
        token_input="input_ids",
        logits_output="logits",
        cache={"past": "present"},
        start_token_ids=(),
        end_token_ids=tuple(ends[:1]),
        pad_token_id=PAD,
        max_new_tokens=20,
        mask_input="attention_mask",
        position_input="position_ids",
        prompt="ids",
        rules=as_rules(named),
    )
    prompt = Prompt(ids=ids, mask=mask, encoder_ids=ids)
    options = GenerateOptions(max_new_tokens=limit, stop_token_ids=tuple(ends[1:]))
    found = generate(generation, DECODER, run_gpt2, prompt, options=options)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.filterwarnings("ignore:Unfeasible length")
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 3),
    limit=st.integers(1, 9),
    named=rules(),
)
@settings(max_examples=30)
def test_a_start_token_is_continued_as_upstream_does(
    seed: int, batch: int, limit: int, named: dict[str, Any]
) -> None:
    model = MODELS["encoder and decoder"]
    source = np.random.default_rng(seed).integers(4, VOCABULARY, (batch, 5))
    wanted = by_transformers(model, {"input_ids": source}, named, max_new_tokens=limit)[:, 1:]
    generation = Generation(
        decoder="decoder",
        token_input="input_ids",
        logits_output="logits",
        cache={"past": "present"},
        start_token_ids=(2,),
        end_token_ids=(3,),
        pad_token_id=PAD,
        max_new_tokens=20,
        encoder_ids="source",
        rules=as_rules(named),
    )

    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        ids = np.concatenate([feeds["past"], feeds["input_ids"]], axis=1)
        with torch.no_grad():
            output = model(torch.tensor(source), decoder_input_ids=torch.tensor(ids))
        return {"logits": output.logits[:, -1:].numpy(), "present": ids}

    prompt = Prompt(ids=np.full((batch, 1), 2), encoder_ids=source)
    options = GenerateOptions(max_new_tokens=limit)
    found = generate(generation, DECODER, run, prompt, options=options)
    np.testing.assert_array_equal(found, wanted)
