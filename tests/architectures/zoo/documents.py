"""Pages: pictures of text, with or without the words and where they stand."""

from __future__ import annotations

from . import asking, image_processors, tokenizers
from .specimen import Built, specimen


@specimen(asking.page, feeds=("image", "text"))
def layoutlmv3() -> Built:
    from transformers import (
        LayoutLMv3Config,
        LayoutLMv3ForTokenClassification,
        LayoutLMv3Processor,
        LayoutLMv3Tokenizer,
    )

    tokenizer = tokenizers.trained(LayoutLMv3Tokenizer, 320)
    labels = ("O", "B-HEADER", "I-HEADER", "B-QUESTION", "I-QUESTION", "B-ANSWER", "I-ANSWER")
    config = LayoutLMv3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=64,
        coordinate_size=6,
        shape_size=4,
        rel_pos_bins=16,
        max_rel_pos=32,
        rel_2d_pos_bins=16,
        max_rel_2d_pos=64,
        input_size=32,
        patch_size=8,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        **tokenizers.ids(tokenizer),
    )
    images = image_processors.square("LayoutLMv3ImageProcessorPil", 32, apply_ocr=False)
    return LayoutLMv3ForTokenClassification(config), LayoutLMv3Processor(images, tokenizer)
