"""What a checkpoint's generation config says, in mmedge's terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from mmedge.wiring import LogitsRules
from mmedge_export.huggingface.recording import Recording
from mmedge_export.huggingface.used_rules import token_ids, used_rules

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
    """The settings that `generate` went by, and the longest answer.

    Raises ProjectError for a rule of generation_config.json that mmedge does not know.
    """
    used = recording.config
    stored = getattr(model, "generation_config", None)
    ends = _ids(used.eos_token_id)
    pad = _ids(used.pad_token_id)
    return GenerationSettings(
        end_token_ids=ends,
        pad_token_id=pad[0] if pad else (ends[0] if ends else 0),
        max_new_tokens=max_new_tokens or _stored_length(stored) or DEFAULT_NEW_TOKENS,
        rules=used_rules(recording.processors, prompt_length=recording.prompt.shape[1]),
    )


def _stored_length(config: Any) -> int | None:
    value = getattr(config, "max_new_tokens", None)
    return int(value) if value else None


def _ids(value: Any) -> tuple[int, ...]:
    return () if value is None else token_ids(value)
