"""BLIP and what followed: queries read the image, a language model reads the queries."""

from __future__ import annotations

from typing import Any

from . import image_processors, tokenizers
from .asking import image_alone, image_and_text
from .generation import generation
from .sizes import VISION, decoder, text_encoder
from .specimen import Built, specimen


def blip(kind: str, vision: dict[str, Any]) -> Built:
    """BLIP with the head `kind`."""
    import transformers

    tokenizer = tokenizers.bert(bos_token="[DEC]")
    tokenizers.placeholders(tokenizer, "[ENC]")
    text = text_encoder(
        tokenizer,
        positions=64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.sep_token_id,
        sep_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = transformers.BlipConfig(
        text_config=text, vision_config=vision, projection_dim=24, image_text_hidden_size=24
    )
    model = getattr(transformers, kind)(config)
    generation(model, tokenizer, eos_token_id=tokenizer.sep_token_id)
    images = image_processors.square("BlipImageProcessorPil")
    return model, transformers.BlipProcessor(images, tokenizer)


@specimen(image_and_text, feeds=("image", "text"), gain=1.0, seed=3)
def blip_vqa() -> Built:
    # Its decoder attends to the question with weights that were made for the image.
    return blip("BlipForQuestionAnswering", {**VISION, "hidden_size": 48})


@specimen(image_alone, feeds=("image",), gain=1.0)
def blip_captioning() -> Built:
    return blip("BlipForConditionalGeneration", VISION)


def blip_2(text: dict[str, Any], tokenizer: Any) -> Built:
    """BLIP-2 with the language model `text`."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor

    image_token = tokenizer.convert_tokens_to_ids("<image>")
    query = {
        "hidden_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    config = Blip2Config(
        vision_config=VISION,
        qformer_config=query,
        text_config={**text, "vocab_size": len(tokenizer), **tokenizers.ids(tokenizer)},
        num_query_tokens=4,
        image_text_hidden_size=24,
        image_token_index=image_token,
    )
    model = Blip2ForConditionalGeneration(config)
    images = image_processors.square("BlipImageProcessorPil")
    return model, Blip2Processor(images, tokenizer, num_query_tokens=4)


@specimen(image_and_text, feeds=("image", "text"))
def blip2_opt() -> Built:
    tokenizer = tokenizers.gpt2(
        "<image>", bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>"
    )
    text = {
        "model_type": "opt",
        "hidden_size": 48,
        "word_embed_proj_dim": 48,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }
    # Decoders continue at the right end of what they read.
    tokenizer.padding_side = "left"
    model, processor = blip_2(text, tokenizer)
    return generation(model, tokenizer), processor


@specimen(image_and_text, feeds=("image", "text"), seed=2)
def blip2_t5() -> Built:
    tokenizer = tokenizers.t5("<image>")
    text = {
        "model_type": "t5",
        "d_model": 48,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    model, processor = blip_2(text, tokenizer)
    start = tokenizer.pad_token_id
    return generation(model, tokenizer, decoder_start_token_id=start), processor


@specimen(image_and_text, feeds=("image", "text"))
def instructblip() -> Built:
    from transformers import (
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
        InstructBlipProcessor,
    )

    tokenizer = tokenizers.llama("<image>")
    tokenizer.padding_side = "left"
    reader = tokenizers.bert()
    query = {
        "vocab_size": len(reader),
        "hidden_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
    }
    config = InstructBlipConfig(
        vision_config=VISION,
        qformer_config=query,
        text_config=decoder("llama", tokenizer),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = generation(InstructBlipForConditionalGeneration(config), tokenizer)
    images = image_processors.square("BlipImageProcessorPil")
    return model, InstructBlipProcessor(images, tokenizer, reader, num_query_tokens=4)
