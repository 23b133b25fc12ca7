"""Image and text through one encoder, to answers or scores in a single pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from . import tokenizers
from .asking import image_and_text
from .samples import Sample
from .specimen import Built, specimen


@specimen(image_and_text, feeds=("image", "text"))
def vilt() -> Built:
    from transformers import (
        ViltConfig,
        ViltForQuestionAnswering,
        ViltImageProcessorPil,
        ViltProcessor,
    )

    tokenizer = tokenizers.bert()
    answers = ("no", "yes", "red", "blue", "wood", "stone", "two", "three", "gold", "green")
    config = ViltConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        image_size=64,
        patch_size=16,
        max_position_embeddings=40,
        id2label=dict(enumerate(answers)),
        label2id={answer: index for index, answer in enumerate(answers)},
    )
    images = ViltImageProcessorPil(size={"shortest_edge": 64}, size_divisor=32)
    return ViltForQuestionAnswering(config), ViltProcessor(images, tokenizer)


@specimen(image_and_text, feeds=("image", "text"))
def flava() -> Built:
    from transformers import FlavaConfig, FlavaImageProcessorPil, FlavaModel, FlavaProcessor

    tokenizer = tokenizers.bert()
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 40,
    }
    config = FlavaConfig(
        image_config={**sizes, "image_size": 32, "patch_size": 8},
        text_config={**sizes, "vocab_size": len(tokenizer), "max_position_embeddings": 40},
        multimodal_config=sizes,
        image_codebook_config={"hidden_size": 4},
        hidden_size=32,
        projection_dim=24,
    )
    images = FlavaImageProcessorPil(
        size={"height": 32, "width": 32},
        crop_size={"height": 32, "width": 32},
        input_size_patches=4,
        total_mask_patches=6,
        mask_group_min_patches=2,
        codebook_size={"height": 16, "width": 16},
        codebook_crop_size={"height": 16, "width": 16},
    )
    return FlavaModel(config), FlavaProcessor(images, tokenizer)


# Regions of the image that LXMERT is told about, along each side, and the pixels of each.
REGIONS, REGION_PIXELS = 3, 4


def regions_and_text(tokenizer: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """LXMERT reads a detector's regions, which no upstream class computes: a grid stands in."""
    side = REGIONS * REGION_PIXELS
    pixels = np.stack([np.asarray(sample.image.resize((side, side))) for sample in samples])
    grid = pixels.reshape(-1, REGIONS, REGION_PIXELS, REGIONS, REGION_PIXELS * 3)
    features = grid.transpose(0, 1, 3, 2, 4).reshape(len(samples), REGIONS**2, -1) / 127.5 - 1
    edges = np.arange(REGIONS) / REGIONS
    top, left = (edge.ravel() for edge in np.meshgrid(edges, edges, indexing="ij"))
    boxes = np.stack([left, top, left + 1 / REGIONS, top + 1 / REGIONS], -1)
    return {
        **tokenizer([sample.text for sample in samples], padding=True, return_tensors="pt"),
        "visual_feats": torch.from_numpy(features).float(),
        "visual_pos": torch.from_numpy(boxes).float().expand(len(samples), -1, -1).contiguous(),
    }


def regions_beside_text(tokenizer: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """The same regions under VisualBERT's names; it takes no boxes."""
    asked = dict(regions_and_text(tokenizer, samples))
    asked.pop("visual_pos")
    regions = asked.pop("visual_feats")
    ones = torch.ones(regions.shape[:2], dtype=torch.long)
    visual = {"visual_token_type_ids": ones, "visual_attention_mask": ones.clone()}
    return {**asked, "visual_embeds": regions, **visual}


@specimen(regions_and_text, feeds=("image", "text"))
def lxmert() -> Built:
    from transformers import LxmertConfig, LxmertForQuestionAnswering

    tokenizer = tokenizers.bert()
    config = LxmertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=40,
        num_qa_labels=10,
        num_object_labels=6,
        num_attr_labels=5,
        max_position_embeddings=40,
        l_layers=2,
        x_layers=2,
        r_layers=2,
        visual_feat_dim=REGION_PIXELS**2 * 3,
    )
    return LxmertForQuestionAnswering(config), tokenizer


@specimen(regions_beside_text, feeds=("image", "text"))
def visual_bert() -> Built:
    from transformers import VisualBertConfig, VisualBertForVisualReasoning

    tokenizer = tokenizers.bert()
    config = VisualBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        visual_embedding_dim=REGION_PIXELS**2 * 3,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=40,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=2,
    )
    return VisualBertForVisualReasoning(config), tokenizer


@specimen(image_and_text, feeds=("image", "text"))
def bridgetower() -> Built:
    from transformers import (
        BridgeTowerConfig,
        BridgeTowerForImageAndTextRetrieval,
        BridgeTowerImageProcessorPil,
        BridgeTowerProcessor,
    )

    tokenizer = tokenizers.roberta()
    # Its vision tower has one head per 64 channels.
    sizes = {"hidden_size": 64, "num_hidden_layers": 2}
    text = {
        **sizes,
        "vocab_size": len(tokenizer),
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        **tokenizers.ids(tokenizer),
    }
    config = BridgeTowerConfig(
        text_config=text,
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
        hidden_size=64,
        num_attention_heads=4,
        num_hidden_layers=2,
    )
    images = BridgeTowerImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"shortest_edge": 32}, size_divisor=8
    )
    processor = BridgeTowerProcessor(images, tokenizer)
    return BridgeTowerForImageAndTextRetrieval(config), processor
