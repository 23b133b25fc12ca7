"""A vision encoder whose features take the place of image tokens in a decoder's prompt."""

from __future__ import annotations

from typing import Any

from . import image_processors, tokenizers
from .asking import conversation
from .generation import generation
from .processors import without_video
from .specimen import Built, specimen

# Unequal on purpose: heads that share keys and values, a head size that is not hidden / heads.
DECODER: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
CLIP_VISION: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
LLAVA_CHAT = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for item in message['content'] if item['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for item in message['content'] if item['type'] == 'text' %}{{ item['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


@specimen(conversation, feeds=("image", "text"))
def llava() -> Built:
    from transformers import (
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = tokenizers.llama("<image>")
    config = LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **DECODER},
        vision_config=CLIP_VISION,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    model = generation(LlavaForConditionalGeneration(config), tokenizer)
    processor = LlavaProcessor(
        image_processors.clip(),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_CHAT,
    )
    return model, processor


QWEN_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ item['text'] }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


@specimen(conversation, feeds=("image", "text"))
def qwen2_vl() -> Built:
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
    )

    tokenizer = tokenizers.qwen2(*QWEN_TOKENS)
    special = tokenizer.convert_tokens_to_ids
    text = {
        **DECODER,
        "vocab_size": len(tokenizer),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1_000_000.0,
            "mrope_section": [2, 2, 2],
        },
        **tokenizers.ids(tokenizer, "eos", "pad"),
        "bos_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "depth": 2,
        "embed_dim": 32,
        "hidden_size": DECODER["hidden_size"],
        "mlp_ratio": 2,
        "num_heads": 2,
        "patch_size": 8,
    }
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        vision_start_token_id=special("<|vision_start|>"),
        vision_end_token_id=special("<|vision_end|>"),
        image_token_id=special("<|image_pad|>"),
        video_token_id=special("<|video_pad|>"),
    )
    # Qwen2-VL stops at the end of a turn, and at the end of the text.
    stop = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model = generation(Qwen2VLForConditionalGeneration(config), tokenizer, eos_token_id=stop)
    images = Qwen2VLImageProcessorPil(
        patch_size=8, size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}
    )
    return model, without_video("Qwen2VLProcessor")(
        images, tokenizer, None, chat_template=QWEN_CHAT
    )


SMOLVLM_CHAT = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for item in message['content'] %}{% if item['type'] == 'text' %}{{ item['text'] }}"
    "{% elif item['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def tile_marks(rows: int = 2, columns: int = 2) -> tuple[str, ...]:
    """The tokens by which Idefics says where a tile stands."""
    places = [
        f"<row_{row}_col_{column}>"
        for row in range(1, rows + 1)
        for column in range(1, columns + 1)
    ]
    return ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *places)


@specimen(conversation, feeds=("image", "text"))
def smolvlm() -> Built:
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessorPil,
    )

    tokenizer = tokenizers.gpt2(
        *tile_marks(), bos_token="<|im_start|>", eos_token="<end_of_utterance>", pad_token="<pad>"
    )
    config = SmolVLMConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            **DECODER,
            **tokenizers.ids(tokenizer),
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = generation(SmolVLMForConditionalGeneration(config), tokenizer)
    # Tiles of 32 pixels, and the whole: five of them, of four tokens each.
    images = SmolVLMImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
    )
    kind = without_video("SmolVLMProcessor")
    return model, kind(images, tokenizer, None, image_seq_len=4, chat_template=SMOLVLM_CHAT)
