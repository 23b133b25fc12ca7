"""A vision encoder, a projector, and a decoder that reads image features as tokens."""

from __future__ import annotations

from typing import Any

from . import image_processors, processors, tokenizers
from .asking import conversation
from .generation import generation
from .processors import without_video
from .sizes import CLIP_VISION, SIGLIP_PLACES, VISION, decoder
from .specimen import Built, specimen

LLAVA_CHAT = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for item in message['content'] if item['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for item in message['content'] if item['type'] == 'text' %}{{ item['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def llava_processor(kind: str, images: Any, tokenizer: Any, **further: Any) -> Any:
    """As CLIP's features need it: a class token, which is dropped again."""
    import transformers

    return getattr(transformers, kind)(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_CHAT,
        **further,
    )


@specimen(conversation, feeds=("image", "text"))
def llava() -> Built:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    tokenizer = tokenizers.llama("<image>")
    config = LlavaConfig(
        text_config=decoder("llama", tokenizer),
        vision_config=CLIP_VISION,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    model = generation(LlavaForConditionalGeneration(config), tokenizer)
    return model, llava_processor("LlavaProcessor", image_processors.clip(), tokenizer)


@specimen(conversation, feeds=("image", "text"))
def vipllava() -> Built:
    from transformers import VipLlavaConfig, VipLlavaForConditionalGeneration

    tokenizer = tokenizers.llama("<image>")
    config = VipLlavaConfig(
        text_config=decoder("llama", tokenizer),
        vision_config=CLIP_VISION,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=[-2, -1, 1],
        image_seq_length=16,
    )
    model = generation(VipLlavaForConditionalGeneration(config), tokenizer)
    return model, llava_processor("LlavaProcessor", image_processors.clip(), tokenizer)


@specimen(conversation, feeds=("image", "text"))
def llava_next() -> Built:
    from transformers import (
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
    )

    tokenizer = tokenizers.llama("<image>")
    grids = [[32, 64], [64, 32], [64, 64]]
    config = LlavaNextConfig(
        text_config=decoder("mistral", tokenizer, sliding_window=None),
        vision_config=CLIP_VISION,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grids,
        image_seq_length=16,
    )
    model = generation(LlavaNextForConditionalGeneration(config), tokenizer)
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
        image_grid_pinpoints=grids,
    )
    return model, llava_processor("LlavaNextProcessor", images, tokenizer)


ONEVISION_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for item in message['content'] if item['type'] == 'image' %}{{ '<image>' }}{% endfor %}"
    "{% for item in message['content'] if item['type'] == 'text' %}{{ '\\n' + item['text'] }}"
    "{% endfor %}{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@specimen(conversation, feeds=("image", "text"))
def llava_onevision() -> Built:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
    )

    tokenizer = tokenizers.qwen2("<image>", "<video>")
    grids = [[32, 32], [32, 64], [64, 32], [64, 64]]
    config = LlavaOnevisionConfig(
        text_config=decoder("qwen2", tokenizer),
        vision_config=SIGLIP_PLACES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grids,
    )
    model = generation(LlavaOnevisionForConditionalGeneration(config), tokenizer)
    images = LlavaOnevisionImageProcessorPil(
        size={"height": 32, "width": 32}, image_grid_pinpoints=grids
    )
    processor = without_video("LlavaOnevisionProcessor")(
        images,
        tokenizer,
        None,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=ONEVISION_CHAT,
    )
    return model, processor


PIXTRAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ '[INST]' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'text' %}{{ item['text'] }}"
    "{% else %}{{ '[IMG]' }}{% endif %}{% endfor %}{{ '[/INST]' }}{% endfor %}"
)
PIXTRAL_TOKENS = ("[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]")
PIXTRAL_VISION = {"model_type": "pixtral", **VISION, "image_size": 64, "head_dim": 16}


def pixtral_processor(tokenizer: Any, merge: int) -> Any:
    """Images keep their shape; every row of tokens ends with a break."""
    from transformers import PixtralImageProcessorPil

    side = 8 * merge
    images = PixtralImageProcessorPil(
        size={"longest_edge": 64}, patch_size={"height": side, "width": side}
    )
    return processors.pixtral()(
        images,
        tokenizer,
        patch_size=8,
        spatial_merge_size=merge,
        chat_template=PIXTRAL_CHAT,
    )


@specimen(conversation, feeds=("image", "text"))
def pixtral() -> Built:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    tokenizer = tokenizers.llama(*PIXTRAL_TOKENS, add_bos_token=False)
    config = LlavaConfig(
        text_config=decoder("mistral", tokenizer, head_dim=16, sliding_window=None),
        vision_config=PIXTRAL_VISION,
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=1,
    )
    model = generation(LlavaForConditionalGeneration(config), tokenizer)
    return model, pixtral_processor(tokenizer, merge=1)


@specimen(conversation, feeds=("image", "text"))
def mistral3() -> Built:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    tokenizer = tokenizers.llama(*PIXTRAL_TOKENS, add_bos_token=False)
    config = Mistral3Config(
        text_config=decoder("mistral", tokenizer, head_dim=16, sliding_window=None),
        vision_config=PIXTRAL_VISION,
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
    )
    model = generation(Mistral3ForConditionalGeneration(config), tokenizer)
    return model, pixtral_processor(tokenizer, merge=2)
