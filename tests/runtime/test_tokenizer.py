"""Text comes in whole characters, and its pieces are the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from mmedge.errors import BundleError
from mmedge.runtime.tokenizer import REPLACEMENT, TextStream, open_tokenizer, texts

TEXTS = ["the red ball, the green ball", "größer als 3 €", "日本語 🙂", "naïve café"]


def byte_level() -> Any:
    """Tokens are bytes and runs of them, as in GPT-2, Whisper and Qwen."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def byte_fallback() -> Any:
    """Tokens are words, and single bytes for what is none, as in Llama and Gemma."""
    words = ["</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁the", "▁red", "▁", "s"]
    vocabulary = {word: i for i, word in enumerate(words)}
    model = models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.add_special_tokens(["</s>", "<unk>"])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


TOKENIZERS = {"bytes": byte_level(), "fallback": byte_fallback()}
END = 0


def pieces(tokenizer: Any, rows: list[list[int]]) -> tuple[list[list[str]], list[str]]:
    """What was told at each step, and at the end."""
    told: list[list[str]] = []
    stream = TextStream(tokenizer, told.append, end_ids=[END])
    for step in np.array(rows).T:
        stream.add(step)
    steps = list(told)
    stream.end()
    return steps, told[-1] if len(told) > len(steps) else [""] * len(rows)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters=REPLACEMENT)))
def test_text_is_told_whole_character_by_whole_character(text: str) -> None:
    tokenizer = TOKENIZERS["bytes"]
    ids = tokenizer.encode(text).ids
    steps, rest = pieces(tokenizer, [[*ids, END, END]])
    assert "".join(piece for (piece,) in steps) == text
    assert not any(REPLACEMENT in piece for (piece,) in steps)
    assert all(piece for (piece,) in steps)
    assert rest == [""]


@given(text=st.text(st.sampled_from("é€🙂s"), max_size=8))
def test_bytes_that_stand_for_a_word_are_told_as_characters(text: str) -> None:
    tokenizer = TOKENIZERS["fallback"]
    ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in text.encode()]
    steps, rest = pieces(tokenizer, [[260 - 2, *ids, 259, END]])
    assert "".join(piece for (piece,) in steps) == f"the{text} red"
    assert not any(REPLACEMENT in piece for (piece,) in steps)
    assert rest == [""]


@given(
    rows=st.integers(1, 12).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 299), min_size=n, max_size=n), min_size=1)
    )
)
def test_the_pieces_of_any_bytes_are_the_text(rows: list[list[int]]) -> None:
    """Even of bytes that never become a character; those at the end are told at the end."""
    tokenizer = TOKENIZERS["bytes"]
    steps, rest = pieces(tokenizer, rows)
    joined = ["".join(step[i] for step in [*steps, rest]) for i in range(len(rows))]
    assert joined == texts(tokenizer, np.array(rows), end_ids=[END])


def test_a_character_of_several_tokens_waits_for_the_last() -> None:
    tokenizer = TOKENIZERS["fallback"]
    ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in "🙂".encode()]
    told: list[list[str]] = []
    stream = TextStream(tokenizer, told.append, end_ids=[])
    for token in ids[:-1]:
        stream.add(np.array([token]))
    assert told == []
    stream.add(np.array([ids[-1]]))
    assert told == [["🙂"]]


def test_sequences_end_by_themselves() -> None:
    tokenizer = TOKENIZERS["fallback"]
    the, red = 258, 259
    steps, _ = pieces(tokenizer, [[the, END, red], [the, red, red]])
    assert steps == [["the", "the"], ["", " red"], ["", " red"]]
    assert texts(tokenizer, np.array([[the, END, red]]), end_ids=[END]) == ["the"]


@pytest.mark.parametrize("content", [b"", b"{}", b"no json"])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(BundleError, match="not a tokenizer file"):
        open_tokenizer(tmp_path / "tokenizer.json")
