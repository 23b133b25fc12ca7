"""Tokenizers of upstream's own classes, trained on a few sentences."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import AddedToken

SENTENCES = (
    "what is the roof of the temple made of",
    "which colour does the flower have",
    "a photo of a red flower with green leaves in the garden.",
    "the temple in china has a golden roof and two stone lions!",
    "two people walk along the river, and a dog runs behind them.",
    "Describe the image in detail. What is in this picture?",
    "he said: how many birds are there? there are 12 birds, 3 cats and 45 trees.",
    "USER: please transcribe the speech. ASSISTANT: the sound of a dog barking in the rain",
)


def trained(kind: type, vocabulary: int = 300, **options: Any) -> Any:
    """A tokenizer of class `kind`; `options` as its constructor takes them."""
    base = kind(**options)
    return base.train_new_from_iterator(SENTENCES, vocab_size=vocabulary, show_progress=False)


def bert(**options: Any) -> Any:
    """Lower-case word pieces: [CLS] text [SEP]."""
    from transformers import BertTokenizer

    return trained(BertTokenizer, 200, **options)


def clip(length: int = 24) -> Any:
    """Byte-level pairs with an end-of-word mark: <|startoftext|> text <|endoftext|>."""
    from transformers import CLIPTokenizer

    return trained(CLIPTokenizer, 400, model_max_length=length)


def llama(*extra: str, kind: str = "LlamaTokenizer", **options: Any) -> Any:
    """SentencePiece-like pairs with byte fallback: <s> text; `extra` are placeholders."""
    import transformers

    tokenizer = with_bytes(trained(getattr(transformers, kind), 160, **options), **options)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return placeholders(tokenizer, *extra)


def with_bytes(tokenizer: Any, **options: Any) -> Any:
    """The same pieces, and one per byte after the three special ones, as SentencePiece has."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    pieces = list(state["vocab"])
    pieces[3:3] = [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    return type(tokenizer)(vocab=vocab, merges=list(map(tuple, state["merges"])), **options)


def placeholders(tokenizer: Any, *extra: str) -> Any:
    """The tokenizer, with further special tokens."""
    tokens = [AddedToken(token, normalized=False, special=True) for token in extra]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    return tokenizer


# A few of Whisper's.
LANGUAGES = ("en", "zh", "de", "es")


def whisper() -> Any:
    """Byte-level pairs, then Whisper's special tokens in its order, then timestamps."""
    from transformers import WhisperTokenizer

    tokenizer = trained(WhisperTokenizer, 330)
    placeholders(
        tokenizer,
        "<|startoftranscript|>",
        *(f"<|{code}|>" for code in LANGUAGES),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    )
    # Every 0.02 s of the window, not special, as upstream's.
    tokenizer.add_tokens([AddedToken(f"<|{step / 50:.2f}|>") for step in range(101)])
    return tokenizer
