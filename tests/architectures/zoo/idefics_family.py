"""Idefics and SmolVLM: images cut into tiles, each with its place in the prompt."""

from __future__ import annotations

from . import tokenizers
from .asking import conversation
from .generation import generation
from .processors import without_video
from .sizes import DECODER, VISION, decoder
from .specimen import Built, specimen

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
        text_config=decoder("llama", tokenizer),
        vision_config={**VISION, "num_attention_heads": 4},
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


@specimen(conversation, feeds=("image", "text"))
def idefics3() -> Built:
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    tokenizer = tokenizers.llama(*tile_marks())
    config = Idefics3Config(
        text_config=decoder("llama", tokenizer),
        vision_config={**VISION, "num_attention_heads": 4},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    model = generation(Idefics3ForConditionalGeneration(config), tokenizer)
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
    )
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=IDEFICS_CHAT)
    return model, processor


IDEFICS_CHAT = (
    "{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for item in message['content'] %}{% if item['type'] == 'text' %}{{ item['text'] }}"
    "{% elif item['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@specimen(conversation, feeds=("image", "text"))
def idefics2() -> Built:
    from transformers import (
        Idefics2Config,
        Idefics2ForConditionalGeneration,
        Idefics2ImageProcessorPil,
        Idefics2Processor,
    )

    tokenizer = tokenizers.llama("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    resampler = {
        "hidden_size": DECODER["hidden_size"],
        "resampler_n_latents": 4,
        "resampler_depth": 2,
        "resampler_n_heads": 4,
        "resampler_head_dim": 12,
        "num_key_value_heads": 2,
    }
    config = Idefics2Config(
        text_config=decoder("mistral", tokenizer, sliding_window=None),
        vision_config={**VISION, "num_attention_heads": 4},
        perceiver_config=resampler,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = generation(Idefics2ForConditionalGeneration(config), tokenizer)
    images = Idefics2ImageProcessorPil(
        size={"shortest_edge": 20, "longest_edge": 32}, do_image_splitting=False
    )
    processor = Idefics2Processor(images, tokenizer, image_seq_len=4, chat_template=IDEFICS_CHAT)
    return model, processor
