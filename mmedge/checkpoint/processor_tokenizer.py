"""A tokenizer's files as the table of our tokenization."""

from __future__ import annotations

import json
from typing import Any

from mmedge.checkpoint.processor_defaults import PADDED_LEFT, TOKEN_TYPES
from mmedge.checkpoint.processor_sources import ProcessorSources, UnsupportedError

Table = dict[str, Any]
KNOWN_OUTPUTS = ("input_ids", "attention_mask", "token_type_ids")
UNLIMITED = 10**6  # upstream writes 10^30 where a tokenizer has no limit
NAMED = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
# Their own code builds what goes around a text, whatever add_bos_token says.
OWN_TEMPLATES = ("Bert", "CLIP", "Roberta", "LayoutLM", "T5", "Whisper", "Siglip", "XLM", "Bart")


def tokenization_table(sources: ProcessorSources, *, types: bool | None = None) -> Table:
    """The table of `tokens`; UnsupportedError where there is no tokenizer.json.

    types: whether token_type_ids are made, where the processor decides and not the tokenizer.
    """
    path = sources.directory / "tokenizer.json"
    if not path.is_file():
        raise UnsupportedError(
            "tokenizer.json is missing, the one form of a tokenizer that runs without transformers "
            "(AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) writes it)"
        )
    known = tokens_of(sources)
    longest = sources.tokenizer.get("model_max_length")
    side = "left" if sources.tokenizer_class in PADDED_LEFT else "right"
    table: Table = {
        "file": path.name,
        "outputs": _outputs(sources, types),
        "max_length": int(longest) if longest and 0 < longest < UNLIMITED else None,
        "truncation_side": sources.tokenizer.get("truncation_side"),
        "padding_side": sources.tokenizer.get("padding_side", side),
        "pad_token": sources.token("pad_token"),
        "pad_type_id": sources.tokenizer.get("pad_token_type_id"),
        "added_tokens": [token for token in _named(sources) if token not in known],
        "template": _template(sources),
    }
    return {key: value for key, value in table.items() if value not in (None, [])}


def continued(tokens: Table, notes: list[str]) -> Table:
    """Padded on the left: a decoder continues at the right end of its prompt."""
    if tokens["padding_side"] != "left":
        notes.append("prompts of a batch are padded on the left, where the tokenizer says right")
    return {**tokens, "padding_side": "left"}


def tokens_of(sources: ProcessorSources) -> dict[str, int]:
    """Every token of tokenizer.json, with its id; UnsupportedError for another kind of file."""
    try:
        text = (sources.directory / "tokenizer.json").read_text(encoding="utf-8")
        loaded = json.loads(text)
        vocabulary = loaded["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: (token, score) in the order of ids
            vocabulary = {token: i for i, (token, _) in enumerate(vocabulary)}
        return {**vocabulary, **{token["content"]: token["id"] for token in loaded["added_tokens"]}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise UnsupportedError(f"tokenizer.json cannot be read: {found}") from error


def _outputs(sources: ProcessorSources, types: bool | None) -> list[str]:
    default = TOKEN_TYPES.get(sources.tokenizer_class, ("input_ids", "attention_mask"))
    named = sources.tokenizer.get("model_input_names", default)
    outputs = [name for name in named if name in KNOWN_OUTPUTS]
    if types is False:
        outputs = [name for name in outputs if name != "token_type_ids"]
    elif types and "token_type_ids" not in outputs:
        outputs.append("token_type_ids")
    return outputs


def _named(sources: ProcessorSources) -> list[str]:
    """Special tokens that the configuration names, which upstream adds where they are missing."""
    named = [sources.token(f"{name}_token") for name in NAMED]
    for key in ("extra_special_tokens", "additional_special_tokens"):
        extra = sources.tokenizer.get(key) or []
        for token in extra.values() if isinstance(extra, dict) else extra:
            named.append(token.get("content") if isinstance(token, dict) else token)
    return list(dict.fromkeys(token for token in named if isinstance(token, str)))


def _template(sources: ProcessorSources) -> list[str] | None:
    """The tokens around a text where add_bos_token or add_eos_token says so."""
    config = sources.tokenizer
    said = "add_bos_token" in config or "add_eos_token" in config
    if not said or sources.tokenizer_class.startswith(OWN_TEMPLATES):
        return None
    bos = sources.token("bos_token") if config.get("add_bos_token") else None
    eos = sources.token("eos_token") if config.get("add_eos_token") else None
    return [token for token in (bos, "$A", eos) if token is not None]
