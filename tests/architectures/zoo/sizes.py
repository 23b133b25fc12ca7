"""The sizes that the tiny decoders and vision encoders share."""

from __future__ import annotations

from typing import Any

# Unequal on purpose: heads that share keys and values, text wider than images.
DECODER: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
# A text encoder beside a vision encoder, and what its vocabulary does not tell.
TEXT: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
# One layer more, because LLaVA takes its features from the last but one.
CLIP_VISION = {"model_type": "clip_vision_model", **VISION, "num_hidden_layers": 3}
SIGLIP_VISION = {"model_type": "siglip_vision_model", **VISION}
# As a decoder reads it: every place, and no pooled vector.
SIGLIP_PLACES = {**SIGLIP_VISION, "vision_use_head": False}


def text_encoder(tokenizer: Any, *, positions: int, **further: Any) -> dict[str, Any]:
    """The configuration of a text encoder with that many positions."""
    return {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": positions,
        **further,
    }


def decoder(kind: str, tokenizer: Any, **further: Any) -> dict[str, Any]:
    """The configuration of a text decoder with the model type `kind`."""
    ids = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")
    }
    return {"model_type": kind, "vocab_size": len(tokenizer), **DECODER, **ids, **further}
