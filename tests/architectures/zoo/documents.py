"""Pages: pictures of text, with or without the words and where they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from . import asking, image_processors, tokenizers
from .generation import generation
from .processors import Parts
from .samples import Sample
from .sizes import text_encoder
from .specimen import Built, specimen

POSITIONS = 64


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


def words_and_boxes(tokenizer: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """Every token with the box of its word; special ones with an empty box."""
    options = {"is_split_into_words": True, "padding": True, "return_tensors": "pt"}
    asked = tokenizer([sample.words for sample in samples], **options)
    boxes = [
        [[0, 0, 0, 0] if word is None else sample.boxes[word] for word in asked.word_ids(row)]
        for row, sample in enumerate(samples)
    ]
    return {**asked, "bbox": torch.tensor(boxes)}


def words_and_relative_boxes(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """BROS takes the boxes as parts of the page."""
    asked = words_and_boxes(getattr(processor, "tokenizer", processor), samples)
    return {**asked, "bbox": asked["bbox"] / 1000}


@specimen(words_and_boxes, feeds=("text",))
def layoutlm() -> Built:
    from transformers import LayoutLMConfig, LayoutLMForTokenClassification

    tokenizer = tokenizers.bert()
    config = LayoutLMConfig(**text_encoder(tokenizer, positions=POSITIONS), num_labels=7)
    return LayoutLMForTokenClassification(config), tokenizer


@specimen(words_and_boxes, feeds=("text",))
def lilt() -> Built:
    from transformers import LiltConfig, LiltForTokenClassification

    tokenizer = tokenizers.roberta(add_prefix_space=True)
    ids = tokenizers.ids(tokenizer)
    config = LiltConfig(**text_encoder(tokenizer, positions=POSITIONS, **ids), num_labels=7)
    return LiltForTokenClassification(config), tokenizer


@specimen(words_and_relative_boxes, feeds=("text",))
def bros() -> Built:
    from transformers import BrosConfig, BrosForTokenClassification, BrosProcessor

    tokenizer = tokenizers.bert()
    # Eight coordinates, each as an even number of sines and cosines.
    text = text_encoder(tokenizer, positions=POSITIONS, hidden_size=64)
    config = BrosConfig(**text, num_labels=7)
    return BrosForTokenClassification(config), BrosProcessor(tokenizer)


def nodes(tokenizer: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """A web page with one word in each cell of a row."""
    paths = [
        [f"/html/body/div/table/tr/td[{cell + 1}]" for cell, _ in enumerate(sample.words)]
        for sample in samples
    ]
    words = [sample.words for sample in samples]
    return tokenizer(words, xpaths=paths, padding=True, return_tensors="pt")


@specimen(nodes, feeds=("text",))
def markuplm() -> Built:
    from transformers import MarkupLMConfig, MarkupLMForTokenClassification, MarkupLMTokenizer

    tags = {tag: index for index, tag in enumerate(("body", "div", "html", "table", "td", "tr"))}
    # Two more are implied: an unknown tag, and padding.
    tokenizer = tokenizers.trained(MarkupLMTokenizer, 320, tags_dict=tags, max_depth=8)
    config = MarkupLMConfig(
        **text_encoder(tokenizer, positions=POSITIONS),
        num_labels=7,
        xpath_unit_hidden_size=6,
        max_depth=8,
        max_xpath_tag_unit_embeddings=len(tags) + 2,
        tag_pad_id=len(tags) + 1,
        **tokenizers.ids(tokenizer),
    )
    return MarkupLMForTokenClassification(config), tokenizer


def question_on_page(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """A question, the words of the page, and where they stand."""
    return processor(
        images=[sample.image for sample in samples],
        text=["Question answering. what is this?" for _ in samples],
        text_pair=[sample.words for sample in samples],
        boxes=[sample.boxes for sample in samples],
        padding=True,
        return_tensors="pt",
    )


@specimen(question_on_page, feeds=("image", "text"), seed=5)
def udop() -> Built:
    from transformers import UdopConfig, UdopForConditionalGeneration, UdopProcessor

    tokenizer = tokenizers.udop()
    config = UdopConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        image_size=32,
        patch_size=8,
        max_2d_position_embeddings=1024,
        decoder_start_token_id=tokenizer.pad_token_id,
        **tokenizers.ids(tokenizer, "eos", "pad"),
    )
    model = UdopForConditionalGeneration(config)
    generation(model, tokenizer, decoder_start_token_id=tokenizer.pad_token_id)
    images = image_processors.square("LayoutLMv3ImageProcessorPil", 32, apply_ocr=False)
    return model, UdopProcessor(images, tokenizer)


@specimen(asking.image_alone, feeds=("image",))
def mgp_str() -> Built:
    from transformers import MgpstrConfig, MgpstrForSceneTextRecognition, ViTImageProcessorPil

    tokenizer = tokenizers.characters()
    config = MgpstrConfig(
        image_size=[32, 64],
        patch_size=8,
        max_token_length=9,
        num_character_labels=len(tokenizer),
        num_bpe_labels=50,
        num_wordpiece_labels=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        mlp_ratio=2.0,
    )
    # Upstream's processor fetches two more tokenizers from the hub as it is made.
    images = ViTImageProcessorPil(size={"height": 32, "width": 64})
    return MgpstrForSceneTextRecognition(config), Parts(images, tokenizer)
