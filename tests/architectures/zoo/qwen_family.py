"""Qwen-VL: patches of any number of pixels, positions in three dimensions."""

from __future__ import annotations

from typing import Any

from . import image_processors, tokenizers
from .asking import conversation
from .generation import generation
from .processors import without_video
from .sizes import DECODER, VISION, decoder
from .specimen import Built, specimen

QWEN_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ item['text'] }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def qwen_text(tokenizer: Any) -> dict[str, Any]:
    """Half of a head turns with time, height and width, in equal parts."""
    rope = {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [2, 2, 2]}
    ids = tokenizers.ids(tokenizer, "eos", "pad")
    first = {"bos_token_id": tokenizer.pad_token_id}
    return {**DECODER, "vocab_size": len(tokenizer), "rope_parameters": rope, **ids, **first}


def qwen_ids(tokenizer: Any) -> dict[str, int]:
    """Which tokens stand for what is seen."""
    special = tokenizer.convert_tokens_to_ids
    return {
        "vision_start_token_id": special("<|vision_start|>"),
        "vision_end_token_id": special("<|vision_end|>"),
        "image_token_id": special("<|image_pad|>"),
        "video_token_id": special("<|video_pad|>"),
    }


def qwen_vl(kind: str, vision: dict[str, Any]) -> Built:
    """Qwen2-VL, or what followed, by the beginning of the names of its classes."""
    import transformers

    tokenizer = tokenizers.qwen2(*QWEN_TOKENS)
    config = getattr(transformers, f"{kind}Config")(
        text_config=qwen_text(tokenizer), vision_config=vision, **qwen_ids(tokenizer)
    )
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    # It stops at the end of a turn, and at the end of the text.
    stop = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    processor = without_video(f"{kind}Processor")(
        image_processors.qwen2_vl(), tokenizer, None, chat_template=QWEN_CHAT
    )
    return generation(model, tokenizer, eos_token_id=stop), processor


@specimen(conversation, feeds=("image", "text"))
def qwen2_vl() -> Built:
    vision = {
        "depth": 2,
        "embed_dim": 32,
        "hidden_size": DECODER["hidden_size"],
        "mlp_ratio": 2,
        "num_heads": 2,
        "patch_size": 8,
    }
    return qwen_vl("Qwen2VL", vision)


@specimen(conversation, feeds=("image", "text"))
def qwen2_5_vl() -> Built:
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_heads": 2,
        "patch_size": 8,
        # Two by two merged patches; 48 by 64 pixels are no multiple of it.
        "window_size": 32,
        "fullatt_block_indexes": [1],
        "out_hidden_size": DECODER["hidden_size"],
    }
    return qwen_vl("Qwen2_5_VL", vision)


INTERNVL_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}"
    "{% else %}{{ item['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@specimen(conversation, feeds=("image", "text"))
def internvl() -> Built:
    from transformers import (
        InternVLConfig,
        InternVLForConditionalGeneration,
    )

    tokenizer = tokenizers.qwen2(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = InternVLConfig(
        text_config=decoder("qwen2", tokenizer),
        vision_config={**VISION, "image_size": [32, 32], "patch_size": [8, 8]},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    model = generation(InternVLForConditionalGeneration(config), tokenizer)
    images = image_processors.got_ocr2_tiles()
    kind = without_video("InternVLProcessor")
    processor = kind(images, tokenizer, None, image_seq_length=4, chat_template=INTERNVL_CHAT)
    return model, processor
