"""Checkpoint directories of full-size models with random weights, for measuring.

Sizes are those of the published configurations; no weights are needed, for neither latency nor
memory depends on what the numbers are. The tokenizers are the small ones of the test zoo: their
ids are among the model's, which keeps its own vocabulary.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ZOO = Path(__file__).resolve().parents[1] / "tests" / "architectures"
# As many are always made: no end token comes before.
NEW_TOKENS = 64


def whisper_tiny() -> tuple[Any, Any]:
    """openai/whisper-tiny: 4 + 4 layers of width 384, 30 s of sound, 51,865 tokens."""
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    tokenizer = _tokenizers().whisper()
    ids = {
        "bos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    config = WhisperConfig(
        vocab_size=51865,
        num_mel_bins=80,
        d_model=384,
        encoder_layers=4,
        encoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_layers=4,
        decoder_attention_heads=6,
        decoder_ffn_dim=1536,
        max_source_positions=1500,
        max_target_positions=448,
        **ids,
    )
    model = _generating(WhisperForConditionalGeneration(config), ids)
    return model, WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer)


# HuggingFaceTB/SmolVLM-256M-Instruct, config.json: SigLIP base, and a Llama of width 576.
SMOLVLM_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 512,
    "patch_size": 16,
}
SMOLVLM_TEXT = {
    "model_type": "llama",
    "vocab_size": 49280,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rope_theta": 100000.0,
}


def smolvlm_256m() -> tuple[Any, Any]:
    """HuggingFaceTB/SmolVLM-256M-Instruct: SigLIP base and a 30-layer Llama of width 576."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    tokenizer = _smolvlm_tokenizer()
    ids = {f"{n}_token_id": getattr(tokenizer, f"{n}_token_id") for n in ("bos", "eos", "pad")}
    config = SmolVLMConfig(
        text_config={**SMOLVLM_TEXT, **ids},
        vision_config=SMOLVLM_VISION,
        scale_factor=4,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = _generating(SmolVLMForConditionalGeneration(config), ids)
    return model, _smolvlm_processor(tokenizer)


def _smolvlm_tokenizer() -> Any:
    make = _tokenizers().gpt2
    from zoo.idefics_family import tile_marks

    return make(
        *tile_marks(), bos_token="<|im_start|>", eos_token="<end_of_utterance>", pad_token="<pad>"
    )


def _smolvlm_processor(tokenizer: Any) -> Any:
    """An image is one view of 512 pixels, 64 tokens (upstream may cut a large one into 17)."""
    from transformers import SmolVLMImageProcessorPil
    from zoo.idefics_family import SMOLVLM_CHAT
    from zoo.processors import without_video

    images = SmolVLMImageProcessorPil(
        size={"longest_edge": 512}, max_image_size={"longest_edge": 512}, do_image_splitting=False
    )
    kind = without_video("SmolVLMProcessor")
    return kind(images, tokenizer, None, image_seq_len=64, chat_template=SMOLVLM_CHAT)


CHECKPOINTS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "whisper-tiny": whisper_tiny,
    "smolvlm-256m": smolvlm_256m,
}


def write_checkpoint(name: str, directory: Path) -> int:
    """Write the checkpoint called `name`; its weights in bytes."""
    import torch

    torch.manual_seed(0)
    model, processor = CHECKPOINTS[name]()
    model.eval().save_pretrained(directory)
    processor.save_pretrained(directory)
    return sum(file.stat().st_size for file in directory.glob("*.safetensors"))


def _tokenizers() -> Any:
    if str(ZOO) not in sys.path:
        sys.path.insert(0, str(ZOO))
    from zoo import tokenizers

    return tokenizers


def _generating(model: Any, ids: dict[str, int]) -> Any:
    from transformers import GenerationConfig

    length = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    model.generation_config = GenerationConfig(**ids, **length)
    return model
