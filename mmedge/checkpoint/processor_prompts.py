"""Prompts in which images have their places: the table of each vision-language processor."""

from __future__ import annotations

from typing import Any

from mmedge.checkpoint.processor_chat import chat_template
from mmedge.checkpoint.processor_defaults import FLORENCE_TASKS, PINPOINTS
from mmedge.checkpoint.processor_image import merged_patch
from mmedge.checkpoint.processor_sources import ProcessorSources, UnsupportedError
from mmedge.checkpoint.processor_tokenizer import (
    continued,
    tokenization_table,
    tokens_of,
)

Table = dict[str, Any]
Notes = list[str]


def prefixed(sources: ProcessorSources, notes: Notes) -> Table:
    """Image tokens before the text. (BLIP-2.)"""
    count = sources.processor.get("num_query_tokens")
    if count is None:
        notes.append("num_query_tokens is not set: no image tokens are put before the text")
        return {"method": "plain", "tokens": tokenization_table(sources, types=False)}
    tokens = tokenization_table(sources, types=False)
    token = sources.token("image_token", "<image>")
    if token not in tokens_of(sources):
        tokens["added_tokens"] = [*tokens.get("added_tokens", []), token]
    if "max_length" in tokens:
        tokens["max_length"] -= int(count)
    if sources.config.get("use_decoder_only_language_model"):
        tokens = continued(tokens, notes)
    return {"method": "prefixed", "tokens": tokens, "image_token": token, "count": int(count)}


def llava(sources: ProcessorSources, notes: Notes) -> Table:
    """A token for every patch."""
    rule = {"method": "grid", "patch": _patch(sources, notes), "extra": _extra(sources)}
    return _prompt(sources, notes, token=_image_token(sources), rule=rule)


def pixtral(sources: ProcessorSources, notes: Notes) -> Table:
    """A token for every patch, or for a square of merged ones, row by row. (Mistral 3.)"""
    rule = {
        "method": "lines",
        "patch": merged_patch(sources.processor),
        "line": sources.token("image_break_token", "[IMG_BREAK]"),
        "end": sources.token("image_end_token", "[IMG_END]"),
    }
    return _prompt(sources, notes, token=sources.token("image_token", "[IMG]"), rule=rule)


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


def quarters(sources: ProcessorSources, notes: Notes) -> Table:
    """Every part between marks, which neighbours share. (Idefics2.)"""
    mark = sources.token("image_boundary_token", "<fake_token_around_image>")
    count = int(sources.processor.get("image_seq_len", 64))
    rule = {"method": "repeated", "count": count, "around": mark}
    table = _prompt(sources, notes, token=sources.token("image_token", "<image>"), rule=rule)
    return {**table, "shared_mark": mark}


def qwen(sources: ProcessorSources, notes: Notes) -> Table:
    """A token for every merged patch, with the tokens' types."""
    rule = {"method": "merged", "merge": int(sources.image.get("merge_size", 2))}
    token = sources.token("image_token", "<|image_pad|>")
    return {**_prompt(sources, notes, token=token, rule=rule), "token_types": "mm_token_type_ids"}


def internvl(sources: ProcessorSources, notes: Notes) -> Table:
    """As many tokens for every tile."""
    rule = {
        "method": "fixed",
        "count": int(sources.processor.get("image_seq_length", 256)),
        "before": sources.token("start_image_token", "<img>"),
        "after": sources.token("end_image_token", "</img>"),
    }
    token = sources.token("context_image_token", "<IMG_CONTEXT>")
    return _prompt(sources, notes, token=token, rule=rule)


def gemma3(sources: ProcessorSources, notes: Notes) -> Table:
    """The mark of an image's beginning holds its place; soft tokens and the other mark follow."""
    begin = sources.token("boi_token", "<start_of_image>")
    end = sources.token("eoi_token", "<end_of_image>")
    rule = {
        "method": "fixed",
        "count": int(sources.processor.get("image_seq_length", 256)),
        "before": f"\n\n{begin}",
        "after": f"{end}\n\n",
        "token": sources.token("image_token", "<image_soft_token>"),
    }
    table = _prompt(sources, notes, token=begin, rule=rule)
    return {**table, "token_types": "token_type_ids", "type_token": rule["token"]}


def paligemma(sources: ProcessorSources, notes: Notes) -> Table:
    """A fixed count of tokens, the beginning's token, a prefix, a line end."""
    count = sources.image.get("image_seq_length")
    if count is None:
        raise UnsupportedError("image_seq_length is not in the image processor's file")
    token, bos = sources.token("image_token", "<image>"), sources.token("bos_token", "<bos>")
    tokens = continued(tokenization_table(sources, types=True), notes)
    tokens = {**tokens, "special_tokens": False, "overlong": "refuse"}
    if token not in tokens_of(sources):
        tokens["added_tokens"] = [*tokens.get("added_tokens", []), token]
    return {
        "method": "prompt",
        "tokens": tokens,
        "image_token": token,
        "image_tokens": {"method": "fixed", "count": int(count)},
        "template": {
            "with_images": f"{{images}}{bos}{{text}}\n",
            "text_only": "{text}",
            "image": token,
        },
        "whole": False,
    }


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
        "whole": False,
    }


def _prompt(sources: ProcessorSources, notes: Notes, *, token: str | None, rule: Table) -> Table:
    if token is None:
        raise UnsupportedError("the tokenizer names no image token")
    return {
        "method": "prompt",
        "tokens": {**continued(tokenization_table(sources), notes), "overlong": "refuse"},
        "image_token": token,
        "image_tokens": rule,
        "template": _template(sources, notes, token),
        **({"bos": bos} if (bos := sources.token("bos_token")) else {}),
    }


def _template(sources: ProcessorSources, notes: Notes, token: str) -> dict[str, str | bool]:
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
