"""SigLIP and Gemma: the prefix is read in both directions, the vocabulary has special places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import image_processors, tokenizers
from .asking import conversation
from .generation import generation
from .samples import Sample
from .sizes import DECODER, SIGLIP_PLACES, decoder
from .specimen import Built, specimen

# Gemma multiplies its embeddings by the square root of the hidden size.
SCALED_UP = 0.1


def prefix(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """A task prefix, as PaliGemma was trained on."""
    asked = processor(
        images=[[sample.image] for sample in samples],
        text=[f"<image>answer en {sample.text}" for sample in samples],
        padding=True,
        return_tensors="pt",
    )
    return without_labels(asked)


def without_labels(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """The processor prepares for training too."""
    return {name: value for name, value in asked.items() if name != "labels"}


def paligemma_config(tokenizer: Any) -> Any:
    from transformers import PaliGemmaConfig

    text = decoder("gemma", tokenizer, num_key_value_heads=1, head_dim=12)
    return PaliGemmaConfig(
        text_config=text,
        vision_config=SIGLIP_PLACES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=DECODER["hidden_size"],
        hidden_size=DECODER["hidden_size"],
    )


def siglip_images() -> Any:
    return image_processors.square("SiglipImageProcessorPil", 32, image_seq_length=16)


@specimen(prefix, feeds=("image", "text"), embedding=SCALED_UP)
def paligemma() -> Built:
    from transformers import PaliGemmaForConditionalGeneration, PaliGemmaProcessor

    # The processor adds the tokens of places and segments to the tokenizer.
    processor = PaliGemmaProcessor(siglip_images(), tokenizers.gemma("<image>"))
    config = paligemma_config(processor.tokenizer)
    return generation(PaliGemmaForConditionalGeneration(config), processor.tokenizer), processor


def pages(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """The images to retrieve from."""
    images = [sample.image for sample in samples]
    return without_labels(processor(images=images, return_tensors="pt"))


@specimen(pages, feeds=("image",), embedding=SCALED_UP)
def colpali() -> Built:
    from transformers import ColPaliConfig, ColPaliForRetrieval, ColPaliProcessor

    processor = ColPaliProcessor(siglip_images(), tokenizers.gemma("<image>"))
    config = ColPaliConfig(vlm_config=paligemma_config(processor.tokenizer), embedding_dim=24)
    return ColPaliForRetrieval(config), processor


GEMMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\\n' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}"
    "{{ '<start_of_image>' }}{% else %}{{ item['text'] | trim }}{% endif %}{% endfor %}"
    "{{ '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)


@specimen(conversation, feeds=("image", "text"), embedding=0.02, seed=1)
def gemma3() -> Built:
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3Processor,
    )

    tokenizer = tokenizers.gemma(
        "<start_of_turn>",
        "<end_of_turn>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
        image_token="<image_soft_token>",
    )
    special = tokenizer.convert_tokens_to_ids
    text = decoder(
        "gemma3_text",
        tokenizer,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=12,
        layer_types=["sliding_attention", "full_attention"],
    )
    config = Gemma3Config(
        text_config=text,
        vision_config=SIGLIP_PLACES,
        mm_tokens_per_image=4,
        boi_token_index=special("<start_of_image>"),
        eoi_token_index=special("<end_of_image>"),
        image_token_index=special("<image_soft_token>"),
    )
    stop = [tokenizer.eos_token_id, special("<end_of_turn>")]
    model = generation(Gemma3ForConditionalGeneration(config), tokenizer, eos_token_id=stop)
    images = image_processors.square("Gemma3ImageProcessorPil", 32)
    processor = Gemma3Processor(images, tokenizer, image_seq_length=4, chat_template=GEMMA_CHAT)
    return model, processor
