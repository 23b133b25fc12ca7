"""What `generation_config.json` says of a tiny model that generates."""

from __future__ import annotations

from typing import Any

NEW_TOKENS = 8


def generation(model: Any, tokenizer: Any, **settings: Any) -> Any:
    """The model, told the tokenizer's special ids and to stop after a few tokens."""
    from transformers import GenerationConfig

    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "max_new_tokens": NEW_TOKENS,
    }
    model.generation_config = GenerationConfig(**{**ids, **settings})
    return model
