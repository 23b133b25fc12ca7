"""Image and text, or audio and text, encoded apart and compared."""

from __future__ import annotations

from . import image_processors, tokenizers
from .asking import audio_and_text, image_and_text, image_and_text_at_full_length
from .sizes import VISION, text_encoder
from .specimen import Built, specimen


@specimen(image_and_text, feeds=("image", "text"))
def clip() -> Built:
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

    tokenizer = tokenizers.clip()
    text = text_encoder(tokenizer, positions=24, **tokenizers.ids(tokenizer))
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=24))
    return model, CLIPProcessor(image_processors.clip(), tokenizer)


@specimen(image_and_text_at_full_length, feeds=("image", "text"))
def siglip() -> Built:
    from transformers import SiglipConfig, SiglipModel, SiglipProcessor

    # Upstream's own tokenizer class wants sentencepiece; T5's is the same but for lower case.
    tokenizer = tokenizers.t5()
    tokenizer.model_max_length = 24
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
        **tokenizers.ids(tokenizer, "eos", "pad"),
        "bos_token_id": None,
    }
    vision = {**VISION, "num_attention_heads": 4, "image_size": 48, "patch_size": 16}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    images = image_processors.square("SiglipImageProcessorPil", 48)
    return model, SiglipProcessor(images, tokenizer)


@specimen(audio_and_text, feeds=("audio", "text"))
def clap() -> Built:
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

    tokenizer = tokenizers.roberta()
    text = text_encoder(tokenizer, positions=40, **tokenizers.ids(tokenizer))
    audio = {
        "window_size": 4,
        "num_mel_bins": 16,
        "spec_size": 64,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "hidden_size": 32,
        "patch_embeds_hidden_size": 16,
        "depths": [2, 2],
        "num_attention_heads": [2, 4],
        "num_hidden_layers": 2,
        "aff_block_r": 1,
    }
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=24))
    features = ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=16_000,
        hop_length=160,
        max_length_s=2,
        truncation="rand_trunc",
    )
    return model, ClapProcessor(features, tokenizer)
