"""One encoder and a classifier: the degenerate case, of one modality and one graph."""

from __future__ import annotations

from . import asking, image_processors
from .sizes import TEXT, VISION
from .specimen import Built, specimen

CLASSES = 7


@specimen(asking.clip, feeds=("audio",))
def audio_spectrogram_transformer() -> Built:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    config = ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        num_mel_bins=32,
        max_length=64,
        patch_size=8,
        # Patches overlap.
        frequency_stride=6,
        time_stride=6,
        num_labels=CLASSES,
    )
    return ASTForAudioClassification(config), ASTFeatureExtractor(num_mel_bins=32, max_length=64)


@specimen(asking.image_alone, feeds=("image",))
def vit_classifier() -> Built:
    from transformers import ViTConfig, ViTForImageClassification

    model = ViTForImageClassification(ViTConfig(**VISION, num_labels=CLASSES))
    return model, image_processors.square("ViTImageProcessorPil")


@specimen(asking.image_alone, feeds=("image",))
def dinov2_classifier() -> Built:
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2ForImageClassification

    vision = {name: value for name, value in VISION.items() if name != "intermediate_size"}
    config = Dinov2Config(**vision, mlp_ratio=2, num_labels=CLASSES)
    images = BitImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return Dinov2ForImageClassification(config), images


@specimen(asking.image_alone, feeds=("image",))
def siglip_classifier() -> Built:
    from transformers import SiglipConfig, SiglipForImageClassification

    # The text encoder is in the configuration, and not in the model.
    config = SiglipConfig(vision_config=VISION, text_config=TEXT, num_labels=CLASSES)
    return SiglipForImageClassification(config), image_processors.square("SiglipImageProcessorPil")
