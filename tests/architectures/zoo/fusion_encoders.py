"""Image and text through one encoder, to answers or scores in a single pass."""

from __future__ import annotations

from . import tokenizers
from .asking import image_and_text
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
