"""Encoder-decoders of many architectures, tiny, with weights under which every input matters.

`MODELS[name]()` gives the model, two samples (the second padded where a model takes a mask) and
the options of `hf_sequence_to_sequence`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from zoo.weights import scatter

Tiny = tuple[Any, dict[str, Tensor], dict[str, Any]]
MODELS: dict[str, Callable[[], Tiny]] = {}

NEW_TOKENS = 8
VOCABULARY = 99
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 3}
T5_IDS = {"eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
BART: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
}
# Layers of a waveform's convolutions, as wav2vec 2.0 has them.
SOUND: dict[str, Any] = {
    "conv_dim": (24,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def tiny(make: Callable[[], Tiny]) -> Callable[[], Tiny]:
    """Registers the decorated function."""

    def seeded() -> Tiny:
        torch.manual_seed(0)
        return make()

    MODELS[make.__name__] = seeded
    return seeded


def ready(model: Any, **generation: Any) -> Any:
    """The model, with other weights, told to stop after a few tokens."""
    from transformers import GenerationConfig

    scatter(model, seed=0, gain=2.0)
    model.generation_config = GenerationConfig(
        **{**IDS, "max_new_tokens": NEW_TOKENS, **generation}
    )
    return model.eval()


def text(length: int, *, padded: int) -> dict[str, Tensor]:
    mask = torch.ones(2, length, dtype=torch.int64)
    mask[1, length - padded :] = 0
    return {"input_ids": torch.randint(4, 90, (2, length)), "attention_mask": mask}


def sound(*shape: int, padded: int) -> Tensor:
    """Its mask."""
    mask = torch.ones(shape, dtype=torch.int64)
    mask[1, shape[1] - padded :] = 0
    return mask


def image() -> Tensor:
    return torch.randn(2, 3, 32, 32)


@tiny
def bart() -> Tiny:
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(**BART, max_position_embeddings=40, **IDS)
    rules = {"forced_bos_token_id": 1, "forced_eos_token_id": 2, "no_repeat_ngram_size": 2}
    return ready(BartForConditionalGeneration(config), **rules), text(10, padded=3), {}


@tiny
def vit_gpt2() -> Tiny:
    from transformers import GPT2Config, VisionEncoderDecoderModel, ViTConfig

    decoder = GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=40, eos_token_id=2
    )
    model = _pair(VisionEncoderDecoderModel, ViTConfig(**VISION), decoder)
    return ready(model), {"pixel_values": image()}, {}


@tiny
def wav2vec2_bart() -> Tiny:
    from transformers import BartConfig, SpeechEncoderDecoderModel, Wav2Vec2Config

    encoder = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, **SOUND
    )
    decoder = BartConfig(**BART, max_position_embeddings=40)
    model = _pair(SpeechEncoderDecoderModel, encoder, decoder)
    return ready(model), {"input_values": torch.randn(2, 4000)}, {}


def _pair(kind: Any, encoder: Any, decoder: Any) -> Any:
    config = kind.config_class.from_encoder_decoder_configs(
        encoder, decoder, decoder_start_token_id=3, pad_token_id=0
    )
    return kind(config)


@tiny
def speech_to_text() -> Tiny:
    from transformers import Speech2TextConfig, Speech2TextForConditionalGeneration

    config = Speech2TextConfig(
        **BART,
        max_source_positions=200,
        max_target_positions=40,
        input_feat_per_channel=16,
        conv_channels=24,
        **IDS,
    )
    inputs = {"input_features": torch.randn(2, 80, 16), "attention_mask": sound(2, 80, padded=30)}
    return ready(Speech2TextForConditionalGeneration(config)), inputs, {}


@tiny
def moonshine() -> Tiny:
    from transformers import MoonshineConfig, MoonshineForConditionalGeneration

    config = MoonshineConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=2,
        encoder_num_attention_heads=4,
        decoder_num_attention_heads=4,
        **IDS,
    )
    inputs = {"input_values": torch.randn(2, 4000), "attention_mask": sound(2, 4000, padded=1000)}
    return ready(MoonshineForConditionalGeneration(config)), inputs, {}


@tiny
def speecht5() -> Tiny:
    from transformers import SpeechT5Config, SpeechT5ForSpeechToText

    layers = {name: value for name, value in BART.items() if name != "d_model"}
    config = SpeechT5Config(
        **layers,
        hidden_size=32,
        max_text_positions=40,
        encoder_max_relative_position=20,
        **SOUND,
        **IDS,
    )
    inputs = {"input_values": torch.randn(2, 4000), "attention_mask": sound(2, 4000, padded=1000)}
    return ready(SpeechT5ForSpeechToText(config)), inputs, {}


@tiny
def pix2struct() -> Tiny:
    from transformers import Pix2StructConfig, Pix2StructForConditionalGeneration

    decoder = {name: value for name, value in T5.items() if name != "d_model"}
    encoder = {
        "hidden_size": 32,
        "patch_embed_hidden_size": 3 * 4 * 4,
        "d_ff": 48,
        "d_kv": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "seq_len": 20,
        "patch_size": 4,
    }
    config = Pix2StructConfig(
        text_config={**decoder, "hidden_size": 32, **IDS}, vision_config=encoder, **IDS
    )
    # A row and a column, counted from one, before the pixels of each patch.
    places = torch.cartesian_prod(torch.arange(1.0, 6), torch.arange(1.0, 5)).expand(2, -1, -1)
    patches = torch.cat([places, torch.randn(2, 20, 48)], dim=2)
    mask = sound(2, 20, padded=5)
    patches = patches * mask[..., None]
    inputs = {"flattened_patches": patches, "attention_mask": mask}
    return ready(Pix2StructForConditionalGeneration(config)), inputs, {}


@tiny
def instructblip() -> Tiny:
    from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

    query = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "encoder_hidden_size": 32,
    }
    config = InstructBlipConfig(
        text_config={"model_type": "t5", **T5, **T5_IDS},
        vision_config=VISION,
        qformer_config=query,
        num_query_tokens=4,
        image_token_index=98,
    )
    inputs = {"pixel_values": image(), **text(10, padded=2)}
    inputs["input_ids"][:, :4] = 98
    inputs |= {f"qformer_{name}": tensor for name, tensor in text(6, padded=1).items()}
    model = ready(InstructBlipForConditionalGeneration(config), **T5_IDS)
    return model, inputs, {"encoders": {"vision_encoder": "vision_model"}}
