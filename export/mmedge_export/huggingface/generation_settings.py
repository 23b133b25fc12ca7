"""What a checkpoint's generation config says, in mmedge's terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from mmedge.wiring import LogitsRules
from mmedge_export.huggingface.recording import Recording

# transformers' own default is 20 (`max_length`), which no one wants for an answer.
DEFAULT_NEW_TOKENS = 256


@dataclass(frozen=True)
class GenerationSettings:
    """Tokens that end and pad a sequence, its greatest length, and the rules for logits."""

    end_token_ids: tuple[int, ...]
    pad_token_id: int
    max_new_tokens: int
    rules: LogitsRules


def generation_settings(
    recording: Recording, model: nn.Module, *, max_new_tokens: int | None
) -> GenerationSettings:
    """The settings that `generate` went by, and the longest answer."""
    used = recording.config
    stored = getattr(model, "generation_config", None)
    ends = _ids(used.eos_token_id)
    pad = _ids(used.pad_token_id)
    return GenerationSettings(
        end_token_ids=ends,
        pad_token_id=pad[0] if pad else (ends[0] if ends else 0),
        max_new_tokens=max_new_tokens or _stored_length(stored) or DEFAULT_NEW_TOKENS,
        rules=_rules(used),
    )


def _stored_length(config: Any) -> int | None:
    value = getattr(config, "max_new_tokens", None)
    return int(value) if value else None


def _rules(config: Any) -> LogitsRules:
    return LogitsRules(
        repetition_penalty=float(getattr(config, "repetition_penalty", None) or 1.0),
        no_repeat_ngram_size=int(getattr(config, "no_repeat_ngram_size", None) or 0),
        bad_words_ids=tuple(tuple(words) for words in getattr(config, "bad_words_ids", None) or ()),
        min_length=int(getattr(config, "min_length", None) or 0),
        min_new_tokens=int(getattr(config, "min_new_tokens", None) or 0),
        forced_bos_token_id=getattr(config, "forced_bos_token_id", None),
        forced_eos_token_id=_ids(getattr(config, "forced_eos_token_id", None)),
        suppress_tokens=_ids(getattr(config, "suppress_tokens", None)),
        begin_suppress_tokens=_ids(getattr(config, "begin_suppress_tokens", None)),
    )


def _ids(value: Any) -> tuple[int, ...]:
    """One id, several, a tensor of them, or None, as a tuple."""
    if value is None:
        return ()
    if hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(int(v) for v in value) if isinstance(value, list | tuple) else (int(value),)
