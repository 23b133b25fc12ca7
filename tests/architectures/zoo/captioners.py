"""Text about an image, written by a decoder that looks at it through cross-attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import image_processors, tokenizers
from .asking import image_alone, image_and_text
from .generation import generation
from .processors import Parts
from .samples import Sample
from .sizes import VISION
from .specimen import Built, specimen


def vision_encoder_decoder(encoder: Any, decoder: Any, tokenizer: Any, *, start: int) -> Any:
    """The pair as one model, whose decoder starts from the token `start`."""
    from transformers import VisionEncoderDecoderConfig, VisionEncoderDecoderModel

    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        encoder, decoder, decoder_start_token_id=start, pad_token_id=tokenizer.pad_token_id
    )
    model = VisionEncoderDecoderModel(config)
    return generation(model, tokenizer, decoder_start_token_id=start)


# Taller than wide, and no multiple of the window.
PAGE = {"height": 64, "width": 48}


def page_reader(tokenizer: Any, *, start: int, **further: Any) -> Any:
    """Donut's pair: windows that shift over the page, and mBART's decoder."""
    from transformers import DonutSwinConfig, MBartConfig

    encoder = DonutSwinConfig(
        image_size=[*PAGE.values()], embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
    )
    decoder = MBartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        scale_embedding=True,
        is_encoder_decoder=False,
        forced_eos_token_id=None,
        **further,
        **tokenizers.ids(tokenizer),
    )
    return vision_encoder_decoder(encoder, decoder, tokenizer, start=start)


@specimen(image_alone, feeds=("image",), seed=4)
def trocr() -> Built:
    from transformers import TrOCRConfig, TrOCRProcessor, ViTConfig

    tokenizer = tokenizers.roberta()
    decoder = TrOCRConfig(
        vocab_size=len(tokenizer),
        d_model=48,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        max_position_embeddings=40,
        cross_attention_hidden_size=32,
        **tokenizers.ids(tokenizer),
    )
    encoder = ViTConfig(**VISION, qkv_bias=False)
    model = vision_encoder_decoder(encoder, decoder, tokenizer, start=tokenizer.eos_token_id)
    return model, TrOCRProcessor(image_processors.square("ViTImageProcessorPil"), tokenizer)


def task_prompt(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """Donut's decoder starts from the task and the question; a batch asks the first question."""
    prompt = f"<s_docvqa><s_question>{samples[0].text}</s_question><s_answer>"
    tokens = processor.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    return {**image_alone(processor, samples), "decoder_input_ids": tokens.repeat(len(samples), 1)}


@specimen(task_prompt, feeds=("image", "text"), seed=1)
def donut() -> Built:
    from transformers import DonutImageProcessorPil, DonutProcessor

    tokenizer = tokenizers.xlm_roberta(
        "<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>"
    )
    start = tokenizer.convert_tokens_to_ids("<s_docvqa>")
    model = page_reader(tokenizer, start=start, add_final_layer_norm=True)
    images = DonutImageProcessorPil(size=PAGE)
    return model, DonutProcessor(images, tokenizer)


def question_without_end(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """GIT continues what it reads, so that the question keeps its [CLS] and loses its [SEP]."""
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    questions = [f"{tokenizer.cls_token} {sample.text}" for sample in samples]
    options = {"padding": True, "return_tensors": "pt", "return_token_type_ids": False}
    asked = tokenizer(questions, add_special_tokens=False, **options)
    return {**asked, **image_alone(processor, samples)}


@specimen(question_without_end, feeds=("image", "text"), seed=1)
def git() -> Built:
    from transformers import GitConfig, GitForCausalLM, GitProcessor

    tokenizer = tokenizers.bert()
    ids = {
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = GitConfig(
        vision_config=VISION,
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        **ids,
    )
    model = generation(GitForCausalLM(config), tokenizer, **ids)
    return model, GitProcessor(image_processors.clip(), tokenizer)


@specimen(image_and_text, feeds=("image", "text"), gain=1.0)
def florence2() -> Built:
    from transformers import Florence2Config, Florence2ForConditionalGeneration, Florence2Processor

    tokenizer = tokenizers.roberta(extra_special_tokens={"image_token": "<image>"})
    vision = {
        "depths": [1, 1, 2, 1],
        "embed_dim": [16, 24, 32, 32],
        "num_heads": [2, 2, 4, 4],
        "num_groups": [2, 2, 4, 4],
        "window_size": 5,
        "projection_dim": 40,
        "max_temporal_embeddings": 8,
        "max_position_embeddings": 8,
    }
    ids = {
        **tokenizers.ids(tokenizer),
        "decoder_start_token_id": tokenizer.eos_token_id,
        "forced_bos_token_id": tokenizer.bos_token_id,
    }
    text = {
        "model_type": "bart",
        "vocab_size": len(tokenizer),
        "d_model": 40,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 96,
        **ids,
    }
    config = Florence2Config(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        **ids,
    )
    model = generation(Florence2ForConditionalGeneration(config), tokenizer, **ids)
    # Nine places of the last stage, and their mean.
    images = image_processors.square(
        "CLIPImageProcessorPil", 96, do_center_crop=False, image_seq_length=10
    )
    return model, Florence2Processor(images, tokenizer)


@specimen(image_alone, feeds=("image",), seed=1)
def vit_gpt2() -> Built:
    from transformers import GPT2Config, ViTConfig

    tokenizer = tokenizers.gpt2()
    tokenizer.pad_token = tokenizer.eos_token
    decoder = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=40,
        **tokenizers.ids(tokenizer),
    )
    encoder = ViTConfig(**VISION)
    model = vision_encoder_decoder(encoder, decoder, tokenizer, start=tokenizer.bos_token_id)
    return model, Parts(image_processors.square("ViTImageProcessorPil"), tokenizer)


@specimen(image_alone, feeds=("image",))
def nougat() -> Built:
    from transformers import NougatImageProcessorPil, NougatProcessor

    tokenizer = tokenizers.nougat()
    model = page_reader(tokenizer, start=tokenizer.bos_token_id)
    images = NougatImageProcessorPil(size=PAGE)
    return model, NougatProcessor(images, tokenizer)


def few_patches(processor: Any, samples: Sequence[Sample]) -> Mapping[str, Any]:
    """As many patches as a tiny model has places for; the processor's own default is 2048."""
    return processor(
        images=[sample.image for sample in samples],
        text=["a photo of" for _ in samples],
        max_patches=24,
        return_tensors="pt",
    )


@specimen(few_patches, feeds=("image",))
def pix2struct() -> Built:
    from transformers import (
        Pix2StructConfig,
        Pix2StructForConditionalGeneration,
        Pix2StructImageProcessorPil,
        Pix2StructProcessor,
    )

    tokenizer = tokenizers.t5()
    start = tokenizer.pad_token_id
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": start,
        "use_cache": True,
        **tokenizers.ids(tokenizer, "eos", "pad"),
    }
    vision = {
        "hidden_size": 32,
        "patch_embed_hidden_size": 8 * 8 * 3,
        "d_ff": 48,
        "d_kv": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "seq_len": 24,
    }
    config = Pix2StructConfig(text_config=text, vision_config=vision)
    model = Pix2StructForConditionalGeneration(config)
    generation(model, tokenizer, decoder_start_token_id=start)
    images = Pix2StructImageProcessorPil(patch_size={"height": 8, "width": 8}, max_patches=24)
    return model, Pix2StructProcessor(images, tokenizer)


@specimen(image_and_text, feeds=("image", "text"), embedding=0.1)
def kosmos2() -> Built:
    from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Processor

    # The processor adds tokens of its own to the tokenizer.
    processor = Kosmos2Processor(
        image_processors.clip(), tokenizers.xlm_roberta(), num_patch_index_tokens=16
    )
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    text = {
        "vocab_size": len(tokenizer),
        "embed_dim": 48,
        "layers": 2,
        "ffn_dim": 64,
        "attention_heads": 4,
        "max_position_embeddings": 128,
        **tokenizers.ids(tokenizer),
    }
    config = Kosmos2Config(text_config=text, vision_config=VISION, latent_query_num=64)
    return generation(Kosmos2ForConditionalGeneration(config), tokenizer), processor
