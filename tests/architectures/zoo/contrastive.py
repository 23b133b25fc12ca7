"""More dual encoders: what CLIP was varied into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import image_processors, tokenizers
from .asking import image_and_text, image_and_text_at_full_length
from .samples import Sample
from .sizes import VISION, text_encoder
from .specimen import Built, specimen

# Places in the text.
POSITIONS = 40


@specimen(image_and_text, feeds=("image", "text"))
def align() -> Built:
    from transformers import AlignConfig, AlignModel, AlignProcessor

    tokenizer = tokenizers.bert()
    vision = {
        "image_size": 64,
        "width_coefficient": 0.5,
        "depth_coefficient": 1.0,
        "kernel_sizes": [3, 3, 5],
        "in_channels": [32, 16, 24],
        "out_channels": [16, 24, 40],
        "strides": [1, 2, 2],
        "num_block_repeats": [1, 2, 1],
        "expand_ratios": [1, 4, 4],
        "hidden_dim": 32,
    }
    config = AlignConfig(
        text_config=text_encoder(tokenizer, positions=POSITIONS),
        vision_config=vision,
        projection_dim=24,
    )
    images = image_processors.square("EfficientNetImageProcessorPil", 64, do_center_crop=False)
    return AlignModel(config), AlignProcessor(images, tokenizer)


@specimen(image_and_text, feeds=("image", "text"))
def chinese_clip() -> Built:
    from transformers import ChineseCLIPConfig, ChineseCLIPModel, ChineseCLIPProcessor

    tokenizer = tokenizers.bert()
    text = text_encoder(tokenizer, positions=POSITIONS)
    config = ChineseCLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
    images = image_processors.square("ChineseCLIPImageProcessorPil", 32, do_center_crop=False)
    return ChineseCLIPModel(config), ChineseCLIPProcessor(images, tokenizer)


@specimen(image_and_text, feeds=("image", "text"))
def altclip() -> Built:
    from transformers import AltCLIPConfig, AltCLIPModel, AltCLIPProcessor

    tokenizer = tokenizers.xlm_roberta()
    text = text_encoder(tokenizer, positions=POSITIONS, project_dim=40, **tokenizers.ids(tokenizer))
    config = AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
    return AltCLIPModel(config), AltCLIPProcessor(image_processors.clip(), tokenizer)


@specimen(image_and_text, feeds=("image", "text"))
def metaclip2() -> Built:
    from transformers import CLIPProcessor, MetaClip2Config, MetaClip2Model

    tokenizer = tokenizers.xlm_roberta()
    text = text_encoder(tokenizer, positions=POSITIONS, **tokenizers.ids(tokenizer))
    config = MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=24)
    return MetaClip2Model(config), CLIPProcessor(image_processors.clip(), tokenizer)


@specimen(image_and_text_at_full_length, feeds=("image", "text"))
def siglip2() -> Built:
    from transformers import (
        Siglip2Config,
        Siglip2ImageProcessorPil,
        Siglip2Model,
        Siglip2Processor,
    )

    tokenizer = tokenizers.gemma()
    ids = tokenizers.ids(tokenizer)
    # The processor pads to 64, whatever the tokenizer says.
    text = text_encoder(tokenizer, positions=64, **ids)
    vision = {**VISION, "hidden_size": 48, "num_attention_heads": 4}
    vision |= {"patch_size": 16, "num_patches": 16}
    vision.pop("image_size")
    model = Siglip2Model(Siglip2Config(text_config=text, vision_config=vision))
    # As many patches as fit, in the image's own shape: 256, because the processor insists.
    images = Siglip2ImageProcessorPil(patch_size=16, max_num_patches=256)
    return model, Siglip2Processor(images, tokenizer)


@specimen(image_and_text, feeds=("image", "text"))
def vision_text_dual_encoder() -> Built:
    from transformers import (
        BertConfig,
        VisionTextDualEncoderConfig,
        VisionTextDualEncoderModel,
        VisionTextDualEncoderProcessor,
        ViTConfig,
    )

    tokenizer = tokenizers.bert()
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        ViTConfig(**VISION),
        BertConfig(**text_encoder(tokenizer, positions=POSITIONS)),
        projection_dim=24,
    )
    images = image_processors.square("ViTImageProcessorPil")
    return VisionTextDualEncoderModel(config), VisionTextDualEncoderProcessor(images, tokenizer)


@specimen(image_and_text, feeds=("image", "text"))
def groupvit() -> Built:
    from transformers import CLIPProcessor, GroupViTConfig, GroupViTModel

    tokenizer = tokenizers.clip(length=40)
    text = text_encoder(tokenizer, positions=POSITIONS, **tokenizers.ids(tokenizer))
    vision = {
        **VISION,
        "num_hidden_layers": 3,
        "depths": [1, 1, 1],
        "num_group_tokens": [8, 4, 0],
        "num_output_groups": [8, 4, 4],
    }
    config = GroupViTConfig(
        text_config=text, vision_config=vision, projection_dim=24, projection_intermediate_dim=40
    )
    return GroupViTModel(config), CLIPProcessor(image_processors.clip(), tokenizer)


@specimen(image_and_text, feeds=("image", "text"))
def clipseg() -> Built:
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegProcessor

    tokenizer = tokenizers.clip(length=40)
    config = CLIPSegConfig(
        text_config=text_encoder(tokenizer, positions=POSITIONS, **tokenizers.ids(tokenizer)),
        vision_config={**VISION, "num_hidden_layers": 3},
        projection_dim=24,
        extract_layers=[1, 2],
        reduce_dim=16,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
    )
    images = image_processors.square("ViTImageProcessorPil")
    return CLIPSegForImageSegmentation(config), CLIPSegProcessor(images, tokenizer)


FRAMES = 4


def film_and_text(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """A camera that moves to the right over each photograph."""
    films = [
        [sample.image.crop((step * 20, 0, step * 20 + 200, 200)) for step in range(FRAMES)]
        for sample in samples
    ]
    text = [sample.text for sample in samples]
    return processor(text=text, images=films, padding=True, return_tensors="pt")


@specimen(film_and_text, feeds=("image", "text"))
def xclip() -> Built:
    from transformers import VideoMAEImageProcessorPil, XCLIPConfig, XCLIPModel, XCLIPProcessor

    tokenizer = tokenizers.clip(length=40)
    vision = {
        **VISION,
        "mit_hidden_size": 24,
        "mit_intermediate_size": 40,
        "mit_num_hidden_layers": 1,
        "mit_num_attention_heads": 2,
        "num_frames": FRAMES,
    }
    config = XCLIPConfig(
        text_config=text_encoder(tokenizer, positions=POSITIONS, **tokenizers.ids(tokenizer)),
        vision_config=vision,
        projection_dim=24,
        prompt_num_attention_heads=2,
    )
    images = VideoMAEImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    return XCLIPModel(config), XCLIPProcessor(images, tokenizer)
