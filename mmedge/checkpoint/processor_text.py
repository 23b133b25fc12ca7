"""How one processor class writes its texts: the table of our text methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmedge.checkpoint import processor_prompts as prompts
from mmedge.checkpoint.processor_sources import ProcessorSources, UnsupportedError
from mmedge.checkpoint.processor_tokenizer import continued, tokenization_table

Table = dict[str, Any]
Notes = list[str]
TextTable = Callable[[ProcessorSources, Notes], Table]


def plain(sources: ProcessorSources, notes: Notes) -> Table:
    """A sentence, tokenized."""
    return {"method": "plain", "tokens": tokenization_table(sources)}


def untyped(sources: ProcessorSources, notes: Notes) -> Table:
    """A sentence whose token_type_ids the model does not take. (BLIP.)"""
    return {"method": "plain", "tokens": tokenization_table(sources, types=False)}


def filled(sources: ProcessorSources, notes: Notes) -> Table:
    """A sentence, always padded to the longest one. (SigLIP is trained so.)"""
    return {"method": "plain", "tokens": _padded_to_most(sources, notes)}


def filled_64(sources: ProcessorSources, notes: Notes) -> Table:
    """SigLIP 2's processor itself asks for 64 tokens."""
    tokens = {**tokenization_table(sources), "max_length": 64, "padding": "max_length"}
    return {"method": "plain", "tokens": tokens}


def queries(sources: ProcessorSources, notes: Notes) -> Table:
    """Lists of queries, each padded to the longest one. (OWL-ViT.)"""
    return {"method": "queries", "tokens": _padded_to_most(sources, notes)}


def labels(sources: ProcessorSources, notes: Notes) -> Table:
    """Labels separated by dots. (Grounding DINO.)"""
    return {"method": "labels", "tokens": tokenization_table(sources, types=True)}


def words(sources: ProcessorSources, notes: Notes) -> Table:
    """Words with boxes. (LayoutLMv3.)"""
    if sources.image.get("apply_ocr", True):
        notes.append("apply_ocr is left out: pass the words and boxes that an OCR engine finds")
    special = sources.tokenizer.get("sep_token_box", [0, 0, 0, 0])
    if sources.tokenizer.get("cls_token_box", special) != special:
        raise UnsupportedError("cls_token_box and sep_token_box differ")
    pad = sources.tokenizer.get("pad_token_box", [0, 0, 0, 0])
    tokens = tokenization_table(sources)
    return {"method": "words", "tokens": tokens, "special_box": special, "pad_box": pad}


def decoder_prompt(sources: ProcessorSources, notes: Notes) -> Table:
    """The decoder's first tokens, such as "<s_docvqa>". (Donut.)"""
    tokens = {
        **tokenization_table(sources, types=False),
        "outputs": ["input_ids"],
        "special_tokens": False,
    }
    return {"method": "plain", "tokens": tokens, "names": {"input_ids": "decoder_input_ids"}}


def git(sources: ProcessorSources, notes: Notes) -> Table:
    """A question that the answer follows: without the token that ends a text."""
    notes.append(
        "a text is the beginning of the answer, or a question that it follows: the tokenizer's "
        "last token, which would end the answer, is left out"
    )
    tokens = continued(tokenization_table(sources, types=False), notes)
    start = sources.token("cls_token", "[CLS]")
    return {"method": "plain", "tokens": {**tokens, "template": [start, "$A"]}}


def _padded_to_most(sources: ProcessorSources, notes: Notes) -> Table:
    tokens = tokenization_table(sources)
    if "max_length" not in tokens:
        positions = (sources.config.get("text_config") or {}).get("max_position_embeddings")
        if positions is None:
            notes.append("model_max_length is not set: texts are padded to the longest of a batch")
            return tokens
        tokens["max_length"] = int(positions)
        notes.append(f"texts are padded to the model's {positions} positions")
    return {**tokens, "padding": "max_length"}


TEXTS: dict[str, TextTable | None] = {
    "AltCLIPProcessor": plain,
    "Blip2Processor": prompts.prefixed,
    "BlipProcessor": untyped,
    "BridgeTowerProcessor": plain,
    "CLIPProcessor": plain,
    "CLIPSegProcessor": plain,
    "ChineseCLIPProcessor": plain,
    "ClapProcessor": plain,
    "DonutProcessor": decoder_prompt,
    "FlavaProcessor": plain,
    "Florence2Processor": prompts.florence,
    "Gemma3Processor": prompts.gemma3,
    "GitProcessor": git,
    "GroundingDinoProcessor": labels,
    "Idefics2Processor": prompts.quarters,
    "Idefics3Processor": prompts.tiles,
    "InternVLProcessor": prompts.internvl,
    "LayoutLMv3Processor": words,
    "LlavaNextProcessor": prompts.llava_next,
    "LlavaProcessor": prompts.llava,
    "OwlViTProcessor": queries,
    "PaliGemmaProcessor": prompts.paligemma,
    "PixtralProcessor": prompts.pixtral,
    "Qwen2VLProcessor": prompts.qwen,
    "Qwen2_5_VLProcessor": prompts.qwen,
    "Siglip2Processor": filled_64,
    "SiglipProcessor": filled,
    "SmolVLMProcessor": prompts.tiles,
    "Speech2TextProcessor": None,
    "TrOCRProcessor": None,  # its tokenizer only reads the answer
    "ViltProcessor": plain,
    "VisionTextDualEncoderProcessor": plain,
    "Wav2Vec2BertProcessor": None,
    "Wav2Vec2Processor": None,
    "WhisperProcessor": None,
}
