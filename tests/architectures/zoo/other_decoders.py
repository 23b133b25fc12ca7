"""Vision-language decoders that are no family: each with a way of its own to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from . import image_processors, tokenizers
from .asking import conversation
from .generation import generation
from .samples import Sample
from .sizes import SIGLIP_PLACES, VISION, decoder
from .specimen import Built, specimen

AYA_CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'text' %}{{ item['text'] }}"
    "{% else %}{{ '<image>' }}{% endif %}{% endfor %}{{ '<|END_OF_TURN_TOKEN|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"
)


@specimen(conversation, feeds=("image", "text"))
def aya_vision() -> Built:
    from transformers import (
        AyaVisionConfig,
        AyaVisionForConditionalGeneration,
        AyaVisionProcessor,
    )

    tokenizer = tokenizers.gpt2(
        "<image>",
        "<|START_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
        "<|USER_TOKEN|>",
        "<|CHATBOT_TOKEN|>",
        "<|START_OF_IMG|>",
        "<|END_OF_IMG|>",
        "<|IMG_PATCH|>",
        "<|IMG_LINE_BREAK|>",
        *(f"TILE_{tile}" for tile in range(1, 5)),
        "TILE_GLOBAL",
        bos_token="<BOS_TOKEN>",
        pad_token="<PAD>",
        eos_token="<EOS_TOKEN>",
    )
    text = decoder("cohere2", tokenizer, sliding_window=16, logit_scale=1.0, head_dim=12)
    config = AyaVisionConfig(
        text_config=text,
        vision_config=SIGLIP_PLACES,
        alignment_intermediate_size=64,
        image_token_index=tokenizer.convert_tokens_to_ids("<|IMG_PATCH|>"),
    )
    model = generation(AyaVisionForConditionalGeneration(config), tokenizer)
    images = image_processors.got_ocr2_tiles()
    # Patches of 8 pixels, of which two by two become one token.
    processor = AyaVisionProcessor(
        images, tokenizer, patch_size=16, img_size=32, chat_template=AYA_CHAT
    )
    return model, processor


MLLAMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'text' %}{{ item['text'] }}"
    "{% else %}{{ '<|image|>' }}{% endif %}{% endfor %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)


@specimen(conversation, feeds=("image", "text"))
def mllama() -> Built:
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaProcessor

    tokenizer = tokenizers.gpt2(
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
        "<|image|>",
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        pad_token="<|finetune_right_pad_id|>",
    )
    # A row of the input embeddings more than there are logits: the image token is never written.
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    rope = {"rope_type": "default", "rope_theta": 500_000.0}
    text = decoder("mllama_text_model", tokenizer, vocab_size=image, rope_parameters=rope)
    text |= {"num_hidden_layers": 3, "cross_attention_layers": [1]}
    vision = {
        **VISION,
        "attention_heads": VISION["num_attention_heads"],
        "num_global_layers": 2,
        "vision_output_dim": 2 * VISION["hidden_size"],
        "intermediate_layers_indices": [0],
        "max_num_tiles": 4,
        "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    }
    vision.pop("num_attention_heads")
    config = MllamaConfig(text_config=text, vision_config=vision, image_token_index=image)
    model = generation(MllamaForConditionalGeneration(config), tokenizer)
    images = image_processors.square("MllamaImageProcessorPil", 32, max_image_tiles=4)
    return model, MllamaProcessor(images, tokenizer, chat_template=MLLAMA_CHAT)


def image_then_text(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    processor.tokenizer.padding_side = "left"
    return processor(
        images=[sample.image for sample in samples],
        text=[f"{sample.text}<image>" for sample in samples],
        padding=True,
        return_tensors="pt",
    )


CODES = 16


@specimen(image_then_text, feeds=("image", "text"))
def chameleon() -> Built:
    from transformers import (
        ChameleonConfig,
        ChameleonForConditionalGeneration,
        ChameleonImageProcessorPil,
        ChameleonProcessor,
    )

    # Upstream spells the number of an image's code with letters for digits, and a Z at its end.
    codes = [
        f"IMGIMG{''.join(ascii_uppercase[int(digit)] for digit in str(code))}Z"
        for code in range(CODES)
    ]
    tokenizer = tokenizers.llama("<image>", "<racm3:break>", "<eoss>", "<reserved08706>", *codes)
    config = ChameleonConfig(
        **decoder("chameleon", tokenizer),
        vq_config={
            "embed_dim": 8,
            "num_embeddings": CODES,
            "latent_channels": 8,
            "resolution": 32,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1],
            "num_res_blocks": 1,
        },
        vocabulary_map=tokenizer.get_vocab(),
    )
    model = generation(ChameleonForConditionalGeneration(config), tokenizer)
    images = ChameleonImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    return model, ChameleonProcessor(images, tokenizer, image_seq_length=64)
