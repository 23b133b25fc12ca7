"""Prompts with images: ids and pixels equal upstream's, with one and several images, in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image
from zoo import tokenizers
from zoo.processors import pixtral as pixtral_class
from zoo.processors import without_video

from mmedge.data.real_samples import RealSamples
from mmedge.errors import InputError

from .comparison import assert_same, odd_images
from .conftest import Saved

Save = Callable[..., Saved]
TEXT = "input_ids attention_mask"

LLAVA_CHAT = (
    "{% for message in messages %}{{ message['role'] | upper }}: "
    "{% for item in message['content'] | selectattr('type', 'equalto', 'image') %}<image>\n"
    "{% endfor %}{% for item in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ item['text'] }}{% endgeneration %} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
QWEN_CHAT = (
    "{% for message in messages %}{% if loop.first %}<|im_start|>system\nBe brief.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ message['role'] }}\n{% for item in message['content'] %}"
    "{% if 'image' in item or item['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ item['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
SMOLVLM_CHAT = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for item in message['content'] %}{% if item['type'] == 'text' %}{{ item['text'] }}"
    "{% elif item['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def tile_marks(rows: int, columns: int) -> tuple[str, ...]:
    places = (f"<row_{i + 1}_col_{j + 1}>" for i in range(rows) for j in range(columns))
    return ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *places)


def llava(**options: Any) -> Any:
    images = transformers.LlavaImageProcessorPil(size=32, crop_size=32)
    options = {"chat_template": LLAVA_CHAT, "num_additional_image_tokens": 1, **options}
    return transformers.LlavaProcessor(
        images,
        tokenizers.llama("<image>", padding_side="left"),
        **{"patch_size": 8, "vision_feature_select_strategy": "default", **options},
    )


def llava_next(**options: Any) -> Any:
    images = transformers.LlavaNextImageProcessorPil(
        size=32, crop_size=32, image_grid_pinpoints=[[32, 64], [64, 32], [64, 64], [96, 32]]
    )
    return transformers.LlavaNextProcessor(
        images,
        tokenizers.llama("<image>", padding_side="left"),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_CHAT,
        **options,
    )


def smolvlm(**options: Any) -> Any:
    marks = tokenizers.gpt2(
        *tile_marks(4, 4),
        bos_token="<|im_start|>",
        eos_token="<end_of_utterance>",
        pad_token="<pad>",
        padding_side="left",
    )
    options = {"size": {"longest_edge": 128}, "max_image_size": {"longest_edge": 32}, **options}
    images = transformers.SmolVLMImageProcessorPil(**options)
    kind = without_video("SmolVLMProcessor")
    return kind(images, marks, None, image_seq_len=4, chat_template=SMOLVLM_CHAT)


def idefics3() -> Any:
    marks = tokenizers.gpt2(*tile_marks(4, 4), pad_token="<pad>", padding_side="left")
    images = transformers.Idefics3ImageProcessorPil(
        size={"longest_edge": 100}, max_image_size={"longest_edge": 40}
    )
    return transformers.Idefics3Processor(images, marks, image_seq_len=5)


def qwen(name: str = "Qwen2VLProcessor", **options: Any) -> Any:
    images = transformers.Qwen2VLImageProcessorPil(
        patch_size=8, size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}, **options
    )
    tokenizer = tokenizers.qwen2(*QWEN_TOKENS)
    tokenizer.padding_side = "left"
    return without_video(name)(images, tokenizer, None, chat_template=QWEN_CHAT)


def idefics2(**options: Any) -> Any:
    marks = tokenizers.gpt2(*tile_marks(0, 0), pad_token="<pad>", padding_side="left")
    size = {"shortest_edge": 20, "longest_edge": 50}
    images = transformers.Idefics2ImageProcessorPil(size=size, **options)
    chat = SMOLVLM_CHAT.replace("<|im_start|>", "")
    return transformers.Idefics2Processor(images, marks, image_seq_len=3, chat_template=chat)


def gemma3() -> Any:
    marks = ("<start_of_turn>", "<start_of_image>", "<end_of_image>", "<soft>")
    tokenizer = tokenizers.llama(*marks, padding_side="left")
    named = zip(("boi_token", "eoi_token", "image_token"), marks[1:], strict=True)
    for name, token in named:
        setattr(tokenizer, name, token)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
        tokenizer.init_kwargs[name] = token
    images = transformers.Gemma3ImageProcessorPil(size={"height": 24, "width": 24})
    chat = LLAVA_CHAT.replace("<image>", "<start_of_image>")
    return transformers.Gemma3Processor(
        images, tokenizer, chat_template="{{ bos_token }}" + chat, image_seq_length=5
    )


def internvl() -> Any:
    names = ("start_image_token", "end_image_token", "context_image_token", "video_token")
    marks = ("<img>", "</img>", "<IMG_CONTEXT>", "<video>")
    tokenizer = tokenizers.llama(*marks, padding_side="left")
    for name, token in zip(names, marks, strict=True):
        setattr(tokenizer, name, token)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
        tokenizer.init_kwargs[name] = token
    images = transformers.GotOcr2ImageProcessorPil(size={"height": 24, "width": 20}, max_patches=7)
    chat = LLAVA_CHAT.replace("<image>", "<IMG_CONTEXT>")
    kind = without_video("InternVLProcessor")
    return kind(images, tokenizer, None, image_seq_length=3, chat_template=chat)


def pixtral(merge: int) -> Any:
    """The image processor's own patch is another one, and does not count."""
    images = transformers.PixtralImageProcessorPil(size={"longest_edge": 70}, patch_size=5)
    tokenizer = tokenizers.llama("[IMG]", "[IMG_BREAK]", "[IMG_END]", padding_side="left")
    chat = LLAVA_CHAT.replace("<image>", "[IMG]")
    return pixtral_class()(
        images, tokenizer, patch_size=8, spatial_merge_size=merge, chat_template=chat
    )


FAMILIES: dict[str, tuple[Callable[..., Any], str, str]] = {
    "llava": (llava, "pixel_values", "<image>"),
    "llava_next": (llava_next, "pixel_values image_sizes", "<image>"),
    "smolvlm": (smolvlm, "pixel_values pixel_attention_mask", "<image>"),
    "idefics2": (idefics2, "pixel_values pixel_attention_mask", "<image>"),
    "idefics2 in parts": (
        lambda: idefics2(do_image_splitting=True),
        "pixel_values pixel_attention_mask",
        "<image>",
    ),
    "idefics3": (idefics3, "pixel_values pixel_attention_mask", "<image>"),
    "gemma3": (gemma3, "pixel_values token_type_ids", "<start_of_image>"),
    "internvl": (internvl, "pixel_values", "<IMG_CONTEXT>"),
    "pixtral": (lambda: pixtral(1), "pixel_values image_sizes", "[IMG]"),
    "mistral3": (lambda: pixtral(2), "pixel_values image_sizes", "[IMG]"),
    "qwen2_vl": (qwen, "pixel_values image_grid_thw mm_token_type_ids", "<|image_pad|>"),
    "qwen2_5_vl": (
        lambda: qwen("Qwen2_5_VLProcessor"),
        "pixel_values image_grid_thw mm_token_type_ids",
        "<|image_pad|>",
    ),
}
CONCATENATED = {"pixel_values", "image_sizes", "image_grid_thw"}  # by LLaVA and Qwen2-VL


def one_example(name: str, theirs: Any) -> dict[str, Any]:
    """What upstream concatenates over images, under one example."""
    joined = set() if name.startswith(("smolvlm", "idefics")) else CONCATENATED
    return {
        key: np.asarray(value)[None] if key in joined else value for key, value in theirs.items()
    }


def asked(processor: Any, *, images: int, text: str) -> str:
    """The prompt as the checkpoint's chat template writes it."""
    content = [{"type": "image"}] * images + [{"type": "text", "text": text}]
    render = transformers.ProcessorMixin.apply_chat_template
    turn = [{"role": "user", "content": content}]
    return str(render(processor, turn, add_generation_prompt=True))


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("name", FAMILIES)
def test_prompt_with_image_tokens_is_taken_as_it_is(
    saved: Save, photos: list[Image.Image], name: str, images: int
) -> None:
    make, tensors, token = FAMILIES[name]
    ours = saved(processor := make())
    prompt = f"USER: {f'{token} and ' * images}what is in the picture?"
    theirs = processor(images=photos[:images], text=prompt, return_tensors="np")
    result = ours.convert(image=photos[:images], text=prompt)
    assert_same(result, one_example(name, theirs), names=f"{TEXT} {tensors}")


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "idefics3"])
def test_question_goes_through_the_chat_template(
    saved: Save, photos: list[Image.Image], name: str, images: int
) -> None:
    make, tensors, _ = FAMILIES[name]
    ours = saved(processor := make())
    question = "Describe the temple, in detail!"
    prompt = asked(processor, images=images, text=question)
    bos = processor.tokenizer.bos_token
    special = not (bos and prompt.startswith(bos))
    theirs = processor(
        images=photos[:images], text=prompt, add_special_tokens=special, return_tensors="np"
    )
    result = ours.convert(image=photos[:images], text=question)
    assert_same(result, one_example(name, theirs), names=f"{TEXT} {tensors}")
    assert not any("chat template" in note for note in ours.found.notes)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "idefics3"])
def test_question_without_an_image_goes_through_the_chat_template(saved: Save, name: str) -> None:
    make, _, _ = FAMILIES[name]
    ours = saved(processor := make())
    prompt = asked(processor, images=0, text="how are you?")
    bos = processor.tokenizer.bos_token
    special = not (bos and prompt.startswith(bos))
    theirs = processor.tokenizer([prompt], add_special_tokens=special, return_tensors="np")
    assert_same(ours.convert(text="how are you?"), theirs, names=TEXT)


@pytest.mark.parametrize("trim", ["", " | trim"])
def test_white_space_around_a_question_is_the_templates_affair(
    saved: Save, photos: list[Image.Image], trim: str
) -> None:
    chat = LLAVA_CHAT.replace("item['text']", f"item['text']{trim}")
    ours = saved(processor := llava(chat_template=chat))
    question = "  what is this?\n "
    prompt = asked(processor, images=1, text=question)
    theirs = processor(images=photos[0], text=prompt, return_tensors="np")
    assert_same(ours.convert(image=photos[0], text=question), theirs, names=TEXT)


@pytest.mark.parametrize("name", ["smolvlm", "llava", "llava_next"])
def test_batch_of_questions_is_padded_on_the_left(
    saved: Save, photos: list[Image.Image], name: str
) -> None:
    make, tensors, token = FAMILIES[name]
    ours = saved(processor := make())
    texts = [f"{token} what?", f"what is {token} in the temple"]
    nested = [[photo] for photo in photos]
    theirs = dict(processor(images=nested, text=texts, padding=True, return_tensors="np"))
    if name != "smolvlm":  # one image for every example
        theirs = {
            key: np.asarray(value)[:, None] if key in CONCATENATED else value
            for key, value in theirs.items()
        }
    assert_same(ours.convert(image=photos, text=texts), theirs, names=f"{TEXT} {tensors}")
    assert theirs["attention_mask"][0, 0] == 0 or theirs["attention_mask"][1, 0] == 0


def test_padding_is_on_the_left_whatever_the_tokenizer_says(
    saved: Save, photos: list[Image.Image]
) -> None:
    """Decoders continue at the right end of a prompt."""
    processor = llava()
    processor.tokenizer.padding_side = "right"
    ours = saved(processor)
    mask = ours.convert(image=photos, text=["what?", "what is this temple"])["attention_mask"]
    assert mask[0, 0] == 0
    assert mask[:, -1].all()
    assert any("left" in note for note in ours.found.notes)


ODD = odd_images()


def unless_refused(processor: Any, **values: object) -> Any:
    """What upstream makes of an image, or None where it finds its size impossible."""
    try:
        return processor(**values, return_tensors="np")
    except (ValueError, ZeroDivisionError):
        return None


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", FAMILIES)
def test_odd_images_give_as_many_tokens_as_upstream(saved: Save, name: str, kind: str) -> None:
    make, tensors, token = FAMILIES[name]
    ours = saved(processor := make())
    text = f"{token} what is this"
    theirs = unless_refused(processor, images=ODD[kind], text=text)
    if theirs is None:
        with pytest.raises(InputError, match=r"shape|narrow"):
            ours.convert(image=ODD[kind], text=text)
        return
    result = ours.convert(image=ODD[kind], text=text)
    assert_same(result, one_example(name, theirs), names=f"{TEXT} {tensors}")


@pytest.mark.parametrize(
    "options",
    [
        {"do_image_splitting": False},
        {"do_resize": False},
        {"size": {"longest_edge": 32}},
        {"size": {"height": 70, "width": 50}},
    ],
)
def test_tiling_options_are_upstreams(
    saved: Save, photos: list[Image.Image], options: dict[str, Any]
) -> None:
    small = photos[0].resize((90, 60))
    ours = saved(processor := smolvlm(**options))
    theirs = processor(images=small, text="<image> what", return_tensors="np")
    names = f"{TEXT} pixel_values pixel_attention_mask"
    assert_same(ours.convert(image=small, text="<image> what"), theirs, names=names)


@pytest.mark.parametrize("text", ["<image><image>what", "<image>what<image>.", "<image><image>"])
def test_idefics2_images_that_meet_share_a_mark(
    saved: Save, photos: list[Image.Image], text: str
) -> None:
    ours = saved(processor := idefics2())
    theirs = processor(images=photos, text=text, return_tensors="np")
    assert_same(ours.convert(image=photos, text=text), theirs, names=TEXT)


def test_unequal_counts_of_tiles_are_filled_up(saved: Save, photos: list[Image.Image]) -> None:
    ours = saved(processor := smolvlm())
    nested = [[photos[0], photos[1].resize((20, 20))], [photos[1].resize((30, 60))]]
    texts = ["<image> and <image>", "<image>"]
    theirs = processor(images=nested, text=texts, padding=True, return_tensors="np")
    names = f"{TEXT} pixel_values pixel_attention_mask"
    assert_same(ours.convert(image=nested, text=texts), theirs, names=names)


@pytest.mark.parametrize("strategy", ["default", "full"])
@pytest.mark.parametrize("extra", [0, 1])
def test_llava_counts_class_tokens_as_upstream(
    saved: Save, photos: list[Image.Image], strategy: str, extra: int
) -> None:
    processor = llava(vision_feature_select_strategy=strategy, num_additional_image_tokens=extra)
    ours = saved(processor)
    theirs = processor(images=photos[0], text="<image>", return_tensors="np")
    assert_same(ours.convert(image=photos[0], text="<image>"), theirs, names=TEXT)


def test_patch_size_of_the_model_fills_in(saved: Save, photos: list[Image.Image]) -> None:
    """Old checkpoints of LLaVA leave it out of the processor's file."""
    ours = saved(llava(patch_size=None), config='{"vision_config": {"patch_size": 8}}')
    ids = ours.convert(image=photos[0], text="<image>")["input_ids"]
    theirs = llava()(images=photos[0], text="<image>", return_tensors="np")["input_ids"]
    np.testing.assert_array_equal(ids, theirs)
    assert any("config.json" in note for note in ours.found.notes)


def test_without_a_chat_template_images_come_first_and_a_note_says_so(
    saved: Save, photos: list[Image.Image]
) -> None:
    ours = saved(processor := llava(chat_template=None))
    theirs = processor(images=photos[0], text="<image>\nwhat is it", return_tensors="np")
    assert_same(ours.convert(image=photos[0], text="what is it"), theirs, names=TEXT)
    assert any("no chat template" in note for note in ours.found.notes)


def test_images_alone_give_their_tensors_alone(saved: Save, photos: list[Image.Image]) -> None:
    result = saved(llava()).convert(image=photos[0])
    assert set(result) == {"pixel_values"}
    assert result["pixel_values"].shape == (1, 1, 3, 32, 32)


@pytest.mark.parametrize(
    ("image", "text", "message"),
    [
        (1, "<image> and <image>", "2 in the text, 1 images"),
        (2, ["what?", "what?", "what?"], "3 texts, 2 examples"),
        (0, "<image> what?", "1 in the text, 0 images"),
    ],
)
def test_images_and_texts_that_do_not_belong_together(
    saved: Save, photos: list[Image.Image], image: int, text: object, message: str
) -> None:
    values: dict[str, object] = {"text": text}
    if image:
        values["image"] = photos[:image]
    with pytest.raises(InputError, match=message):
        saved(llava()).convert(**values)


def test_whole_prompts_and_questions_do_not_mix_where_only_one_has_its_first_token(
    saved: Save, photos: list[Image.Image]
) -> None:
    with pytest.raises(InputError, match="some texts hold"):
        saved(smolvlm()).convert(image=photos, text=["<image> what?", "what?"])


def test_unequal_patches_of_a_batch_say_the_way_out(saved: Save, photos: list[Image.Image]) -> None:
    ours = saved(qwen())
    unequal = [photos[0], photos[1].resize((16, 16))]
    with pytest.raises(InputError, match="one by one"):
        ours.convert(image=unequal, text=["what?", "what?"])


def test_florence_tasks_are_upstreams(saved: Save, photos: list[Image.Image]) -> None:
    tokenizer = tokenizers.roberta()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.image_token, tokenizer.image_token_id = "<image>", len(tokenizer) - 1
    tokenizer.init_kwargs["image_token"] = "<image>"
    images = transformers.CLIPImageProcessorPil(
        size={"height": 32, "width": 32}, do_center_crop=False
    )
    images.image_seq_length = 5
    ours = saved(processor := transformers.Florence2Processor(images, tokenizer))
    for text in ("<CAPTION>", "<OPEN_VOCABULARY_DETECTION> two birds", "what is it", ""):
        theirs = processor(images=photos[0], text=text, return_tensors="np")
        result = ours.convert(image=photos[0], text=text)
        assert_same(result, theirs, names=f"{TEXT} pixel_values")
    texts = ["<CAPTION>", "<REGION_TO_OCR> there"]
    theirs = processor(images=photos, text=texts, padding=True, return_tensors="np")
    assert_same(ours.convert(image=photos, text=texts), theirs, names=f"{TEXT} pixel_values")
    with pytest.raises(InputError, match="no text besides"):
        ours.convert(image=photos[0], text="<CAPTION> of what?")


@pytest.mark.parametrize("queries", [3, None])
def test_blip2_puts_image_tokens_before_the_text_and_its_padding(
    saved: Save, photos: list[Image.Image], queries: int | None
) -> None:
    images = transformers.BlipImageProcessorPil(size=32)
    tokenizer = tokenizers.roberta(padding_side="left")
    ours = saved(
        processor := transformers.Blip2Processor(images, tokenizer, num_query_tokens=queries)
    )
    texts = ["what?", "which colour does the flower have"]
    theirs = processor(images=photos, text=texts, padding=True, return_tensors="np")
    result = ours.convert(image=photos, text=texts)
    assert_same(result, theirs, names=f"{TEXT} pixel_values")
    assert "token_type_ids" not in result
    alone = processor(text="what?", return_tensors="np")
    assert_same(ours.convert(text=["what?"]), alone, names="")


def test_paligemma_puts_images_then_the_first_token_then_a_prefix(
    saved: Save, photos: list[Image.Image]
) -> None:
    images = transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32})
    images.image_seq_length = 4
    tokenizer = tokenizers.llama("<image>", padding_side="left")
    ours = saved(processor := transformers.PaliGemmaProcessor(images, tokenizer))
    texts = ["caption en", "what is this temple"]
    theirs = processor(images=photos, text=texts, padding=True, return_tensors="np")
    result = ours.convert(image=photos, text=texts)
    expected = {**theirs, "pixel_values": theirs["pixel_values"][:, None]}
    assert_same(result, expected, names=f"{TEXT} token_type_ids pixel_values")
    with pytest.raises(InputError, match="leave it out"):
        ours.convert(image=photos[0], text="<image>caption en")


def test_samples_that_travel_with_the_package_are_understood(
    saved: Save, samples: RealSamples
) -> None:
    ours = saved(smolvlm())
    result = ours.convert(image=samples.images[0], text=samples.questions[0])
    assert result["pixel_values"].shape[1] > 1
