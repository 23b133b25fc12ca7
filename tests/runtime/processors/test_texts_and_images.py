"""Texts beside images: two-tower, fusion and document models, and detection with queries."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image
from zoo import tokenizers

from mmedge.errors import InputError

from .comparison import assert_same
from .conftest import Saved

Save = Callable[..., Saved]
TEXTS = ["a photo of a red flower", "a temple, and two stone lions!"]
SMALL = {"height": 32, "width": 32}


def images(name: str, **options: Any) -> Any:
    return getattr(transformers, f"{name}ImageProcessorPil")(**{"size": SMALL, **options})


CLIP_IMAGES = {"size": {"shortest_edge": 32}, "crop_size": SMALL}
PLAIN: dict[str, Callable[[], Any]] = {
    "clip": lambda: transformers.CLIPProcessor(images("CLIP", **CLIP_IMAGES), tokenizers.clip()),
    "clip with bert": lambda: transformers.VisionTextDualEncoderProcessor(
        images("ViT"), tokenizers.bert()
    ),
    "chinese_clip": lambda: transformers.ChineseCLIPProcessor(
        images("ChineseCLIP", **CLIP_IMAGES), tokenizers.bert()
    ),
    "altclip": lambda: transformers.AltCLIPProcessor(
        images("CLIP", **CLIP_IMAGES), tokenizers.xlm_roberta()
    ),
    "flava": lambda: transformers.FlavaProcessor(
        images("Flava", crop_size=SMALL), tokenizers.bert()
    ),
    "blip": lambda: transformers.BlipProcessor(images("Blip"), tokenizers.bert()),
    "clipseg": lambda: transformers.CLIPSegProcessor(images("ViT"), tokenizers.clip()),
    "bridgetower": lambda: transformers.BridgeTowerProcessor(
        images("BridgeTower", size={"shortest_edge": 64}, crop_size={"shortest_edge": 48}),
        tokenizers.roberta(),
    ),
    "vilt": lambda: transformers.ViltProcessor(
        images("Vilt", size={"shortest_edge": 64}), tokenizers.bert(model_max_length=40)
    ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_batch_equals_upstreams(saved: Save, photos: list[Image.Image], name: str) -> None:
    ours = saved(processor := PLAIN[name]())
    theirs = processor(images=photos, text=TEXTS, padding=True, return_tensors="np")
    result = ours.convert(image=photos, text=TEXTS)
    assert set(result) == set(theirs)
    assert_same(result, theirs, names=" ".join(theirs))
    assert not ours.found.reasons


@pytest.mark.parametrize(
    "text", ["", " ", "what?", "Zoë's CAFÉ — 12 €, 寺", "a\nb\t<|endoftext|>[SEP]"]
)
@pytest.mark.parametrize("name", PLAIN)
def test_odd_texts_equal_upstreams(saved: Save, name: str, text: str) -> None:
    ours = saved(processor := PLAIN[name]())
    theirs = processor.tokenizer([text], truncation=True, return_tensors="np")
    result = ours.convert(text=text)
    assert_same(result, theirs, names=" ".join(result))


def test_too_long_a_text_is_cut_with_its_last_token_kept(
    saved: Save, caplog: pytest.LogCaptureFixture
) -> None:
    ours = saved(processor := PLAIN["clip"]())
    text = "temple " * 40
    theirs = processor(text=[text], truncation=True, return_tensors="np")
    assert_same(ours.convert(text=text), theirs, names="input_ids attention_mask")
    assert "cut to 24 tokens" in caplog.text


def test_siglip_pads_to_its_full_length_and_has_no_mask(
    saved: Save, photos: list[Image.Image]
) -> None:
    tokenizer = tokenizers.t5()
    tokenizer.model_max_length = 30
    tokenizer.init_kwargs["model_max_length"] = 30
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = ["input_ids"]
    ours = saved(processor := transformers.SiglipProcessor(images("Siglip"), tokenizer))
    theirs = processor(images=photos, text=TEXTS, padding="max_length", return_tensors="np")
    result = ours.convert(image=photos, text=TEXTS)
    assert set(result) == {"input_ids", "pixel_values"} == set(theirs)
    assert_same(result, theirs, names="input_ids pixel_values")
    assert result["input_ids"].shape == (2, 30)


def test_siglip_takes_the_models_length_where_the_tokenizer_has_none(saved: Save) -> None:
    processor = transformers.SiglipProcessor(images("Siglip"), tokenizers.t5())
    ours = saved(processor, config='{"text_config": {"max_position_embeddings": 17}}')
    assert ours.convert(text="a")["input_ids"].shape == (1, 17)
    assert any("17 positions" in note for note in ours.found.notes)


def test_siglip2_pads_to_64_tokens(saved: Save, photos: list[Image.Image]) -> None:
    pixels = transformers.Siglip2ImageProcessorPil()
    ours = saved(processor := transformers.Siglip2Processor(pixels, tokenizers.t5()))
    theirs = processor(images=photos, text=TEXTS, return_tensors="np")
    result = ours.convert(image=photos, text=TEXTS)
    assert_same(result, theirs, names=" ".join(theirs))
    assert result["input_ids"].shape == (2, 64)


def test_git_question_ends_without_the_token_that_would_end_the_answer(
    saved: Save, photos: list[Image.Image]
) -> None:
    """As upstream's documentation of visual question answering asks for it."""
    tokenizer = tokenizers.bert()
    ours = saved(transformers.GitProcessor(images("CLIP", **CLIP_IMAGES), tokenizer))
    question = "what is in this picture?"
    ids = tokenizer(question, add_special_tokens=False)["input_ids"]
    result = ours.convert(image=photos[0], text=question)
    assert result["input_ids"].tolist() == [[tokenizer.cls_token_id, *ids]]
    assert set(result) == {"input_ids", "attention_mask", "pixel_values"}


def owlvit() -> Any:
    return transformers.OwlViTProcessor(images("OwlViT"), tokenizers.clip(length=16))


def test_owlvit_has_as_many_queries_for_every_image(saved: Save, photos: list[Image.Image]) -> None:
    ours = saved(processor := owlvit())
    queries = [["a flower"], ["a temple", "two stone lions"]]
    theirs = dict(processor(images=photos, text=queries, return_tensors="np"))
    for name in ("input_ids", "attention_mask"):
        theirs[name] = theirs[name].reshape(2, 2, 16)
    result = ours.convert(image=photos, text=[list(one) for one in queries])
    assert_same(result, theirs, names="input_ids attention_mask pixel_values")


@pytest.mark.parametrize("text", ["a cat", ["a cat"], ["a cat", "a dog"]])
def test_owlvit_texts_in_a_flat_list_are_of_one_image(saved: Save, text: Any) -> None:
    ours = saved(processor := owlvit())
    theirs = processor(text=text, return_tensors="np")["input_ids"][None]
    assert_same(ours.convert(text=text), {"input_ids": theirs}, names="input_ids")


def grounding_dino() -> Any:
    pixels = transformers.GroundingDinoImageProcessorPil(
        size={"shortest_edge": 40, "longest_edge": 60}
    )
    return transformers.GroundingDinoProcessor(pixels, tokenizers.bert())


@pytest.mark.parametrize(
    "text",
    [
        "a cat. a dog.",
        ["A cat ", "a dog"],
        [["a cat", "a dog"], ["a red flower"]],
        ["a cat. a dog.", "a red flower."],
    ],
)
def test_grounding_dino_joins_labels_as_upstream(
    saved: Save, photos: list[Image.Image], text: Any
) -> None:
    ours = saved(processor := grounding_dino())
    joined = processor._preprocess_input_text(text)
    count = 1 if isinstance(joined, str) else len(joined)
    theirs = processor(images=photos[:count], text=text, padding=True, return_tensors="np")
    result = ours.convert(image=photos[:count], text=text)
    assert set(result) == set(theirs)
    assert_same(result, theirs, names=" ".join(theirs))


def test_grounding_dino_label_with_a_dot_is_refused(saved: Save) -> None:
    with pytest.raises(InputError, match="dot"):
        saved(grounding_dino()).convert(text=[["a cat.", "a dog"]])


def layoutlmv3() -> Any:
    model = json.loads(tokenizers.roberta().backend_tokenizer.to_str())["model"]
    tokenizer = transformers.LayoutLMv3Tokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]]
    )
    return transformers.LayoutLMv3Processor(images("LayoutLMv3", apply_ocr=False), tokenizer)


WORDS = [["Invoice", "temple", "34.50"], ["flower"]]
BOXES = [[[60, 40, 330, 90], [350, 40, 410, 90], [0, 0, 1000, 1000]], [[1, 2, 3, 4]]]


def test_layoutlmv3_gives_every_token_the_box_of_its_word(
    saved: Save, photos: list[Image.Image]
) -> None:
    ours = saved(processor := layoutlmv3())
    theirs = processor(photos, WORDS, boxes=BOXES, padding=True, return_tensors="np")
    result = ours.convert(image=photos, words=WORDS, boxes=BOXES)
    assert_same(result, theirs, names="input_ids attention_mask bbox pixel_values")
    one = processor(photos[0], WORDS[0], boxes=BOXES[0], return_tensors="np")
    result = ours.convert(image=photos[0], words=WORDS[0], boxes=np.array(BOXES[0]))
    assert_same(result, one, names="input_ids attention_mask bbox pixel_values")


def test_layoutlmv3_question_stands_nowhere_on_the_page(
    saved: Save, photos: list[Image.Image]
) -> None:
    ours = saved(processor := layoutlmv3())
    questions = ["what is this?", "which flower"]
    theirs = processor(photos, questions, WORDS, boxes=BOXES, padding=True, return_tensors="np")
    result = ours.convert(image=photos, text=questions, words=WORDS, boxes=BOXES)
    assert_same(result, theirs, names="input_ids attention_mask bbox pixel_values")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"words": WORDS[0]}, "'boxes' is missing"),
        ({"text": "what?"}, "'words' is missing"),
        ({"words": WORDS[0], "boxes": BOXES[0][:2]}, "every word needs one box"),
        ({"words": WORDS, "boxes": BOXES, "text": "what?"}, "every page needs one question"),
        ({"words": ["a"], "boxes": [[0, 0, 1, 1001]]}, "from 0 to 1000"),
        ({"words": ["a"], "boxes": [[0, 0, 1]]}, "takes places of words"),
        ({"words": ["a"], "boxes": [[0.0, 0.1, 0.2, 0.3]]}, "integers"),
        ({"words": ["a"], "boxes": "none"}, "takes places of words"),
        ({"words": [1], "boxes": [[0, 0, 1, 1]]}, "int at index 0"),
    ],
)
def test_layoutlmv3_words_and_boxes_that_do_not_fit(
    saved: Save, values: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        saved(layoutlmv3()).convert(**values)


def test_donut_and_trocr_take_a_page_and_their_decoder_its_first_tokens(
    saved: Save, photos: list[Image.Image]
) -> None:
    frame = {"height": 60, "width": 40}
    donut = transformers.DonutProcessor(
        images("Donut", size=frame), tokenizers.xlm_roberta("<s_docvqa>", "<s_question>")
    )
    ours = saved(donut)
    task = "<s_docvqa><s_question>what is this?"
    ids = donut.tokenizer([task], add_special_tokens=False, return_tensors="np")["input_ids"]
    theirs = {**donut(images=photos[0], return_tensors="np"), "decoder_input_ids": ids}
    result = ours.convert(image=photos[0], text=task)
    assert_same(result, theirs, names="pixel_values decoder_input_ids")
    assert set(result) == {"pixel_values", "decoder_input_ids"}


def test_trocr_takes_an_image_alone(saved: Save, photos: list[Image.Image]) -> None:
    ours = saved(processor := transformers.TrOCRProcessor(images("ViT"), tokenizers.roberta()))
    theirs = processor(images=photos, return_tensors="np")
    assert set(ours.processor.raw_inputs()) == {"image"}
    assert_same(ours.convert(image=photos), theirs, names="pixel_values")


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "bert": tokenizers.bert,
    "roberta": tokenizers.roberta,
    "t5": tokenizers.t5,
    "llama": tokenizers.llama,
    "llama with an end": lambda: tokenizers.llama(add_bos_token=False, add_eos_token=True),
    "gpt2": lambda: tokenizers.gpt2(pad_token="<pad>"),
    "gpt2 with a start": lambda: tokenizers.gpt2(pad_token="<pad>", add_bos_token=True),
    "qwen2": tokenizers.qwen2,
    "xlm_roberta": tokenizers.xlm_roberta,
    "clip": tokenizers.clip,
}


@pytest.mark.parametrize("make", TOKENIZERS.values(), ids=TOKENIZERS)
def test_tokenizer_alone_equals_upstreams(saved: Save, make: Callable[[], Any]) -> None:
    """After a round trip, as the checkpoint's user loads it."""
    ours = saved(make())
    loaded = transformers.AutoTokenizer.from_pretrained(ours.directory)
    theirs = loaded([*TEXTS, "a"], padding=True, return_tensors="np")
    result = ours.convert(text=[*TEXTS, "a"])
    assert set(result) == set(theirs)
    assert_same(result, theirs, names=" ".join(theirs))


def test_tokenizer_without_padding_says_the_way_out(saved: Save) -> None:
    ours = saved(tokenizers.gpt2())
    assert ours.convert(text="a temple")["input_ids"].shape[0] == 1
    with pytest.raises(InputError, match="one by one"):
        ours.convert(text=["a", "a temple"])
