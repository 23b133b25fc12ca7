"""Boxes in an image for what a text names."""

from __future__ import annotations

from . import image_processors, tokenizers
from .asking import image_and_labels, image_and_labels_at_full_length
from .sizes import VISION, text_encoder
from .specimen import Built, specimen


def owl(kind: str) -> Built:
    """OWL-ViT, or its second version, by the beginning of the names of its classes."""
    import transformers

    tokenizer = tokenizers.clip(length=16)
    text = text_encoder(tokenizer, positions=16, **tokenizers.ids(tokenizer))
    vision = {**VISION, "image_size": 64, "patch_size": 16}
    config = getattr(transformers, f"{kind}Config")(
        text_config=text, vision_config=vision, projection_dim=48
    )
    images = image_processors.square(f"{kind}ImageProcessorPil", 64)
    model = getattr(transformers, f"{kind}ForObjectDetection")(config)
    return model, getattr(transformers, f"{kind}Processor")(images, tokenizer)


@specimen(image_and_labels_at_full_length, feeds=("image", "labels"))
def owlvit() -> Built:
    return owl("OwlViT")


@specimen(image_and_labels_at_full_length, feeds=("image", "labels"))
def owlv2() -> Built:
    return owl("Owlv2")


def dino(kind: str) -> Built:
    """Grounding DINO, or its second training, by the beginning of the names of its classes."""
    import transformers

    tokenizer = tokenizers.bert()
    backbone = {
        "model_type": "swin",
        "image_size": 64,
        "embed_dim": 8,
        "depths": [1, 1, 2, 1],
        "num_heads": [2, 2, 4, 4],
        "window_size": 4,
        "out_features": ["stage2", "stage3", "stage4"],
    }
    text = {
        "model_type": "bert",
        "vocab_size": len(tokenizer),
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "max_position_embeddings": 40,
    }
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=backbone,
        text_config=text,
        num_queries=12,
        encoder_layers=2,
        encoder_ffn_dim=48,
        encoder_attention_heads=4,
        decoder_layers=2,
        decoder_ffn_dim=48,
        decoder_attention_heads=4,
        d_model=32,
        num_feature_levels=4,
        max_text_len=40,
    )
    size = {"shortest_edge": 64, "longest_edge": 96}
    images = transformers.GroundingDinoImageProcessorPil(size=size)
    model = getattr(transformers, f"{kind}ForObjectDetection")(config)
    return model, transformers.GroundingDinoProcessor(images, tokenizer)


@specimen(image_and_labels, feeds=("image", "labels"))
def grounding_dino() -> Built:
    return dino("GroundingDino")


@specimen(image_and_labels, feeds=("image", "labels"))
def mm_grounding_dino() -> Built:
    return dino("MMGroundingDino")
