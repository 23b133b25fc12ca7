"""Tokenizers of upstream's own classes, trained on a few sentences."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from string import ascii_lowercase, digits, punctuation
from typing import Any

from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel

from . import pieces

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


def trained(kind: type, vocabulary: int, **options: Any) -> Any:
    """Byte pairs for a tokenizer of class `kind`; `options` as its constructor takes them."""
    base = kind(**options)
    return base.train_new_from_iterator(SENTENCES, vocab_size=vocabulary, show_progress=False)


def bert(**options: Any) -> Any:
    """Lower-case word pieces: [CLS] text [SEP]."""
    from transformers import BertTokenizer

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    found = (*special, *pieces.word_pieces(SENTENCES, 200))
    return BertTokenizer(vocab=numbered(found), **options)


def numbered(found: Iterable[str]) -> dict[str, int]:
    return {piece: index for index, piece in enumerate(found)}


def clip(length: int = 24) -> Any:
    """Byte-level pairs with an end-of-word mark: <|startoftext|> text <|endoftext|>."""
    from transformers import CLIPTokenizer

    merges = pieces.ended_pairs(SENTENCES, 90)
    letters = sorted(ByteLevel.alphabet())
    ends = sorted({f"{letter}</w>" for letter in ascii_lowercase + digits + punctuation})
    # Special tokens last, as upstream: OWL-ViT takes a row that starts with id 0 for an empty one.
    special = ("<|startoftext|>", "<|endoftext|>")
    found = dict.fromkeys([*letters, *ends, *map("".join, merges), *special])
    return CLIPTokenizer(vocab=numbered(found), merges=merges, model_max_length=length)


def llama(*extra: str, kind: str = "LlamaTokenizer", **options: Any) -> Any:
    """SentencePiece-like pairs with byte fallback: <s> text; `extra` are placeholders."""
    import transformers

    options = {"add_bos_token": True, **options}
    tokenizer = with_bytes(trained(getattr(transformers, kind), 160, **options), **options)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return placeholders(tokenizer, *extra)


def with_bytes(tokenizer: Any, **options: Any) -> Any:
    """The same pieces, and one per byte after the three special ones, as SentencePiece has."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    found = list(state["vocab"])
    found[3:3] = [f"<0x{byte:02X}>" for byte in range(256)]
    merges = list(map(tuple, state["merges"]))
    return type(tokenizer)(vocab=numbered(found), merges=merges, **options)


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


def t5(*extra: str) -> Any:
    """Unigram pieces: text </s>."""
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab = [*special, *pieces.unigrams(SENTENCES, 250)]
    return placeholders(T5Tokenizer(vocab=vocab, extra_ids=10), *extra)


def roberta(*extra: str, **options: Any) -> Any:
    """Byte-level pairs: <s> text </s>."""
    from transformers import RobertaTokenizer

    return placeholders(trained(RobertaTokenizer, 320, **options), *extra)


def xlm_roberta(*extra: str, **options: Any) -> Any:
    """Unigram pieces: <s> text </s>."""
    from transformers import XLMRobertaTokenizer

    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab = [*special, *pieces.unigrams(SENTENCES, 250), ("<mask>", 0.0)]
    return placeholders(XLMRobertaTokenizer(vocab=vocab, **options), *extra)


def gpt2(*extra: str, **options: Any) -> Any:
    """Byte-level pairs, nothing added."""
    from transformers import GPT2Tokenizer

    return placeholders(trained(GPT2Tokenizer, 320, **options), *extra)


def qwen2(*extra: str, **named: str) -> Any:
    """Byte-level pairs as Qwen's, with the marks of its chat."""
    from transformers import Qwen2Tokenizer

    tokenizer = trained(Qwen2Tokenizer, 320, extra_special_tokens=named)
    placeholders(tokenizer, "<|im_start|>", "<|im_end|>", *extra)
    tokenizer.eos_token = "<|im_end|>"
    return tokenizer


def gemma(*extra: str, **named: str) -> Any:
    """SentencePiece-like pairs with byte fallback, and spaces that are pieces: <bos> text."""
    from transformers import GemmaTokenizer

    options = {"extra_special_tokens": named}
    return placeholders(with_bytes(trained(GemmaTokenizer, 160, **options), **options), *extra)


def ids(tokenizer: Any, *names: str) -> dict[str, int]:
    """`bos_token_id` and so on, as configurations take them; all three unless `names` says."""
    return {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id")
        for name in names or ("bos", "eos", "pad")
    }


def letters() -> Any:
    """Capital letters, with | between words, as CTC models write."""
    from transformers import Wav2Vec2CTCTokenizer

    found = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "vocab.json"
        file.write_text(json.dumps(numbered(found)))
        return Wav2Vec2CTCTokenizer(str(file))


def nougat() -> Any:
    """Byte-level pairs: <s> text </s>."""
    from transformers import NougatTokenizer

    return trained(NougatTokenizer, 320)


def udop() -> Any:
    """Unigram pieces, each with the box of its word: text </s>."""
    from transformers import UdopTokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return UdopTokenizer(vocab=[*special, *pieces.unigrams(SENTENCES, 250)])


def characters() -> Any:
    """Digits and letters one by one, as scene text recognition writes."""
    from transformers import MgpstrTokenizer

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "vocab.json"
        file.write_text(json.dumps(numbered(["[GO]", "[s]", *digits, *ascii_lowercase])))
        return MgpstrTokenizer(str(file))
