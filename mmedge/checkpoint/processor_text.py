"""How one processor class writes its texts: the table of our text methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmedge.checkpoint.processor_chat import chat_template
from mmedge.checkpoint.processor_defaults import FLORENCE_TASKS, PINPOINTS
from mmedge.checkpoint.processor_sources import ProcessorSources, UnsupportedError
from mmedge.checkpoint.processor_tokenizer import tokenization_table, tokens_of

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


def prefixed(sources: ProcessorSources, notes: Notes) -> Table:
    """Image tokens before the text. (BLIP-2.)"""
    count = sources.processor.get("num_query_tokens")
    if count is None:
        notes.append("num_query_tokens is not set: no image tokens are put before the text")
        return untyped(sources, notes)
    tokens = tokenization_table(sources, types=False)
    token = sources.token("image_token", "<image>")
    if token not in tokens_of(sources):
        tokens["added_tokens"] = [*tokens.get("added_tokens", []), token]
    if "max_length" in tokens:
        tokens["max_length"] -= int(count)
    if sources.config.get("use_decoder_only_language_model"):
        tokens = _continued(tokens, notes)
    return {"method": "prefixed", "tokens": tokens, "image_token": token, "count": int(count)}


def llava(sources: ProcessorSources, notes: Notes) -> Table:
    """A token for every patch."""
    rule = {"method": "grid", "patch": _patch(sources, notes), "extra": _extra(sources)}
    return _prompt(sources, notes, token=_image_token(sources), rule=rule)


def llava_next(sources: ProcessorSources, notes: Notes) -> Table:
    """A token for every feature of the tiles that is kept."""
    rule = {
        "method": "any_resolution",
        "patch": _patch(sources, notes),
        "extra": _extra(sources),
        "resolutions": sources.image.get("image_grid_pinpoints") or PINPOINTS,
    }
    return _prompt(sources, notes, token=_image_token(sources), rule=rule)


def tiles(sources: ProcessorSources, notes: Notes) -> Table:
    """Tiles by row and column. (Idefics3, SmolVLM.)"""
    rule = {
        "method": "tiles",
        "count": int(sources.processor.get("image_seq_len", 169)),
        "around": sources.token("fake_image_token", "<fake_token_around_image>"),
        "whole": sources.token("global_image_token", "<global-img>"),
    }
    return _prompt(sources, notes, token=sources.token("image_token", "<image>"), rule=rule)


def qwen(sources: ProcessorSources, notes: Notes) -> Table:
    """A token for every merged patch, with the tokens' types."""
    rule = {"method": "merged", "merge": int(sources.image.get("merge_size", 2))}
    token = sources.token("image_token", "<|image_pad|>")
    return {**_prompt(sources, notes, token=token, rule=rule), "token_types": True}


def florence(sources: ProcessorSources, notes: Notes) -> Table:
    """A fixed count of tokens, then the task as a sentence."""
    count = sources.image.get("image_seq_length")
    token = sources.token("image_token", "<image>")
    bos, eos = sources.token("bos_token", "<s>"), sources.token("eos_token", "</s>")
    if count is None or token is None:
        raise UnsupportedError("image_seq_length is not in the image processor's file")
    tokens = {**tokenization_table(sources, types=False), "special_tokens": False}
    template = {
        "with_images": f"{{images}}{bos}{{text}}{eos}",
        "text_only": "{text}",
        "image": token,
    }
    return {
        "method": "prompt",
        "tokens": {**tokens, "overlong": "refuse"},
        "image_token": token,
        "image_tokens": {"method": "fixed", "count": int(count)},
        "template": template,
        "tasks": FLORENCE_TASKS,
    }


TEXTS: dict[str, TextTable | None] = {
    "AltCLIPProcessor": plain,
    "Blip2Processor": prefixed,
    "BlipProcessor": untyped,
    "CLIPProcessor": plain,
    "ChineseCLIPProcessor": plain,
    "ClapProcessor": plain,
    "DonutProcessor": decoder_prompt,
    "FlavaProcessor": plain,
    "Florence2Processor": florence,
    "GitProcessor": plain,
    "GroundingDinoProcessor": labels,
    "Idefics3Processor": tiles,
    "LayoutLMv3Processor": words,
    "LlavaNextProcessor": llava_next,
    "LlavaProcessor": llava,
    "OwlViTProcessor": queries,
    "Qwen2VLProcessor": qwen,
    "Qwen2_5_VLProcessor": qwen,
    "SiglipProcessor": filled,
    "SmolVLMProcessor": tiles,
    "TrOCRProcessor": None,  # its tokenizer only reads the answer
    "ViltProcessor": plain,
    "VisionTextDualEncoderProcessor": plain,
    "Wav2Vec2Processor": None,
    "WhisperProcessor": None,
}


def _prompt(sources: ProcessorSources, notes: Notes, *, token: str | None, rule: Table) -> Table:
    if token is None:
        raise UnsupportedError("the tokenizer names no image token")
    return {
        "method": "prompt",
        "tokens": {**_continued(tokenization_table(sources), notes), "overlong": "refuse"},
        "image_token": token,
        "image_tokens": rule,
        "template": _template(sources, notes, token),
        **({"bos": bos} if (bos := sources.token("bos_token")) else {}),
    }


def _continued(tokens: Table, notes: Notes) -> Table:
    """Padded on the left: a decoder continues at the right end of its prompt."""
    if tokens["padding_side"] != "left":
        notes.append("prompts of a batch are padded on the left, where the tokenizer says right")
    return {**tokens, "padding_side": "left"}


def _template(sources: ProcessorSources, notes: Notes, token: str) -> dict[str, str]:
    try:
        return chat_template(sources, image_token=token)
    except UnsupportedError as reason:
        notes.append(
            f"{reason}: images are put before the text, each on its own line; a text that holds "
            f"{token} itself is taken as the whole prompt"
        )
        return {"with_images": "{images}{text}", "text_only": "{text}", "image": f"{token}\n"}


def _image_token(sources: ProcessorSources) -> str | None:
    return sources.token("image_token", sources.processor.get("image_token", "<image>"))


def _patch(sources: ProcessorSources, notes: Notes) -> int:
    """The vision tower's patch size: from the processor's file, else from the model's."""
    found = sources.processor.get("patch_size")
    if found is None:
        found = (sources.config.get("vision_config") or {}).get("patch_size")
        notes.append("patch_size is not in the processor's files, and taken from config.json")
    if found is None:
        raise UnsupportedError("patch_size is in neither the processor's files nor config.json")
    return int(found)


def _extra(sources: ProcessorSources) -> int:
    """Tokens besides those of the patches: a class token that is there, and is selected away."""
    strategy = sources.processor.get("vision_feature_select_strategy")
    strategy = strategy or sources.config.get("vision_feature_select_strategy")
    extra = int(sources.processor.get("num_additional_image_tokens") or 0)
    return extra - 1 if strategy == "default" else extra


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
