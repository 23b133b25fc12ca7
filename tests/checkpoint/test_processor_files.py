"""What is read from a checkpoint's processor files, and why something is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from mmedge.checkpoint.processor_audio import receptive_field
from mmedge.checkpoint.processor_chat import chat_template
from mmedge.checkpoint.processor_defaults import (
    ALL,
    FLORENCE_TASKS,
    IMAGE_PROCESSORS,
    IMAGES_OF_MODELS,
    PADDED_LEFT,
    PROCESSOR_OF_MODEL,
    SOUNDS_OF_MODELS,
    TOKEN_TYPES,
)
from mmedge.checkpoint.processor_files import ProcessorFound, processor_options
from mmedge.checkpoint.processor_sources import UnsupportedError, read_sources
from mmedge.checkpoint.processor_text import TEXTS
from mmedge.runtime.processors import load_processor

Write = Callable[..., ProcessorFound]
Read = Callable[[str], dict[str, str | bool]]
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1}, "unk_token": "<unk>"},
}
CLIP_IMAGE = {"image_processor_type": "CLIPImageProcessor", "size": 24, "crop_size": 24}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(config={...}) is a directory with config.json; what is found in it."""

    def found(**files: object) -> ProcessorFound:
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / f"{name}.json").write_text(text)
        return processor_options(tmp_path)

    return found


# Facts.


@pytest.mark.parametrize("name", IMAGE_PROCESSORS)
def test_image_defaults_are_upstreams(name: str) -> None:
    """Every value that upstream's class states and our methods read."""
    kind = getattr(transformers, f"{name}ImageProcessorPil")
    ours = {**ALL, **IMAGE_PROCESSORS[name]}
    for key, value in ours.items():
        assert getattr(kind, key) == value, key
    read = ("size", "crop_size", "do_center_crop", "do_pad", "do_convert_rgb", "size_divisor")
    for key in read:
        stated = getattr(kind, key, None)
        assert ours.get(key) == stated or not (ours.get(key) or stated), key


def test_tokenizer_facts_are_upstreams() -> None:
    for name, outputs in TOKEN_TYPES.items():
        names = getattr(transformers, name).model_input_names
        assert tuple(one for one in names if one in outputs) == outputs
    for name in PADDED_LEFT:
        assert getattr(transformers, name).padding_side == "left"
    assert transformers.GPT2Tokenizer.padding_side == "right"


def test_processors_of_models_are_upstreams_and_known() -> None:
    for model, processor in PROCESSOR_OF_MODEL.items():
        named = PROCESSOR_MAPPING_NAMES[model]
        assert processor in ([named] if isinstance(named, str) else named), model
        assert processor in TEXTS
    for processor in TEXTS:
        assert hasattr(transformers, processor)


def test_parts_of_models_are_upstreams() -> None:
    for name, models in IMAGES_OF_MODELS.items():
        for model in models:
            assert f"{name}ImageProcessor'" in str(IMAGE_PROCESSOR_MAPPING_NAMES[model])
    for name, models in SOUNDS_OF_MODELS.items():
        for model in models:
            assert FEATURE_EXTRACTOR_MAPPING_NAMES[model] == name


def test_florence_tasks_are_upstreams() -> None:
    source = Path(transformers.models.florence2.processing_florence2.__file__).read_text()
    for name, sentence in FLORENCE_TASKS.items():
        assert f'"{name}": "{sentence}"' in source


# Old files.


@pytest.mark.parametrize(
    "name",
    ["CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil"],
)
def test_names_of_one_image_processor(write: Write, name: str) -> None:
    found = write(preprocessor_config={**CLIP_IMAGE, "image_processor_type": name})
    assert found.options is not None
    assert found.options["image"]["crop"] == {"height": 24, "width": 24}


def test_file_of_the_time_of_feature_extractors(write: Write) -> None:
    """What it leaves out is the class's default."""
    found = write(preprocessor_config={"feature_extractor_type": "ViTFeatureExtractor", "size": 30})
    assert found.options is not None
    assert found.options["image"]["size"] == {"height": 30, "width": 30}
    assert found.options["image"]["mean"] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"size": 800, "max_size": 1000}, {"shortest_edge": 800, "longest_edge": 1000}),
        ({"size": 800}, {"shortest_edge": 800, "longest_edge": 1333}),
        ({}, {"shortest_edge": 800, "longest_edge": 1333}),
    ],
)
def test_detr_of_old(write: Write, config: dict[str, int], size: dict[str, int]) -> None:
    found = write(preprocessor_config={"image_processor_type": "DetrImageProcessor", **config})
    assert found.options is not None
    assert found.options["image"]["size"] == size


def test_donut_lists_are_width_and_height(write: Write) -> None:
    config = {"image_processor_type": "DonutImageProcessor", "size": [1920, 2560]}
    found = write(preprocessor_config=config)
    assert found.options is not None
    assert found.options["image"]["size"] == {"height": 2560, "width": 1920}


def test_qwen_pixel_bounds_of_old(write: Write) -> None:
    config = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 784,
        "max_pixels": 9999,
    }
    found = write(preprocessor_config=config)
    assert found.options is not None
    image = found.options["image"]
    assert (image["least_pixels"], image["most_pixels"]) == (784, 9999)


@pytest.mark.parametrize(
    ("model", "file", "method"),
    [
        ("wav2vec2", {"sampling_rate": 16_000, "padding_side": "right"}, ("audio", "waveform")),
        ("whisper", {"sampling_rate": 16_000, "n_fft": 400}, ("audio", "log_mel")),
        ("vit", {"size": 224, "image_mean": [0.5, 0.5, 0.5]}, ("image", "plain")),
        ("detr", {"size": 800, "max_size": 1333}, ("image", "padded")),
    ],
)
def test_oldest_files_name_no_class(
    write: Write, model: str, file: dict[str, object], method: tuple[str, str]
) -> None:
    found = write(config={"model_type": model}, preprocessor_config=file)
    assert found.options is not None, found.reasons
    assert found.options[method[0]]["method"] == method[1]


def test_model_type_stands_in_for_the_processors_class(write: Write) -> None:
    found = write(
        config={"model_type": "clip"}, preprocessor_config=CLIP_IMAGE, tokenizer=TOKENIZER
    )
    assert found.processor == "CLIPProcessor"
    assert not found.reasons


def test_special_tokens_are_read_however_they_are_written(write: Write) -> None:
    found = write(
        config={"model_type": "clip"},
        tokenizer=TOKENIZER,
        tokenizer_config={
            "model_max_length": 77,
            "eos_token": {"content": "</s>"},
            "extra_special_tokens": {"image_token": "<image>"},
        },
        special_tokens_map={"pad_token": {"content": "<pad>"}},
        preprocessor_config=CLIP_IMAGE,
    )
    assert found.options is not None
    tokens = found.options["text"]["tokens"]
    assert tokens["pad_token"] == "<pad>"
    assert tokens["max_length"] == 77
    assert tokens["added_tokens"] == ["</s>", "<pad>", "<image>"]


def test_tokens_that_are_added_get_upstreams_ids(write: Write, tmp_path: Path) -> None:
    """BLIP-2 adds its image token to a tokenizer that has none."""
    found = write(
        config={"model_type": "blip-2"},
        tokenizer=TOKENIZER,
        tokenizer_config={"pad_token": "<unk>", "tokenizer_class": "PreTrainedTokenizerFast"},
        processor_config={"num_query_tokens": 2, "processor_class": "Blip2Processor"},
        preprocessor_config={"image_processor_type": "BlipImageProcessor", "size": 8},
    )
    assert found.options is not None
    processor = load_processor(found.options, where=tmp_path)
    pixels = np.zeros((8, 8, 3), np.uint8)
    ids = processor.convert({"image": pixels, "text": "a"}, files=tmp_path)["input_ids"]
    assert ids.tolist() == [[2, 2, 1]]


# Reasons.


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "none of processor_config.json"),
        ({"config": {"model_type": "clip"}}, "tokenizer.json is missing"),
        ({"processor_config": {"processor_class": "NewProcessor"}}, "NewProcessor is not known"),
        ({"preprocessor_config": "{"}, "preprocessor_config.json cannot be read"),
        ({"preprocessor_config": []}, "holds no object"),
        (
            {"preprocessor_config": {"image_processor_type": "NewImageProcessor"}},
            "NewImageProcessor is not known",
        ),
        ({"preprocessor_config": {"size": 3}}, "the image processor (unnamed)"),
        (
            {"preprocessor_config": {**CLIP_IMAGE, "size": "large"}},
            "image size 'large' is not understood",
        ),
        ({"preprocessor_config": {**CLIP_IMAGE, "image_mean": 0.5}}, "not a list of numbers"),
        ({"preprocessor_config": {**CLIP_IMAGE, "resample": "cubic"}}, "a value in its file"),
        (
            {"preprocessor_config": {"feature_extractor_type": "NewOne", "sampling_rate": 8}},
            "NewOne is not known",
        ),
        ({"preprocessor_config": CLIP_IMAGE, "tokenizer": TOKENIZER}, "no file says how"),
        ({"tokenizer": "{}"}, "tokenizer.json cannot be read"),
        (
            {
                "config": {"model_type": "flava"},
                "preprocessor_config": {
                    "image_processor_type": "FlavaImageProcessor",
                    "return_codebook_pixels": True,
                },
                "tokenizer": TOKENIZER,
            },
            "codebook",
        ),
        (
            {
                "config": {"model_type": "llava"},
                "preprocessor_config": CLIP_IMAGE,
                "tokenizer": TOKENIZER,
            },
            "patch_size is in neither",
        ),
    ],
)
def test_reasons(write: Write, files: dict[str, object], reason: str) -> None:
    found = write(**files)
    assert reason in str(found.reason)
    assert str(found.reason).endswith("pass the tensors themselves")


def test_part_that_is_understood_is_kept(write: Write) -> None:
    """A tokenizer that only transformers reads: images are converted, texts are passed as ids."""
    found = write(
        config={"model_type": "clip"},
        preprocessor_config=CLIP_IMAGE,
        tokenizer_config={"tokenizer_class": "CLIPTokenizer"},
    )
    assert found.options is not None
    assert set(found.options) == {"kind", "processor", "image"}
    assert "save_pretrained" in str(found.reason)


def test_reading_of_every_option_survives_the_strict_runtime(write: Write, tmp_path: Path) -> None:
    for name in IMAGE_PROCESSORS:
        found = write(preprocessor_config={"image_processor_type": f"{name}ImageProcessor"})
        assert found.options is not None, found.reasons
        assert "image" in load_processor(found.options, where=name).raw_inputs()


def test_receptive_field_of_wav2vec2() -> None:
    """25 ms at 16 kHz, as its paper says."""
    config = transformers.Wav2Vec2Config()
    assert receptive_field(config.to_dict()) == 400
    assert receptive_field({}) == 1


# Chat templates.


@pytest.fixture
def template(tmp_path: Path) -> Read:
    def read(source: str) -> dict[str, str | bool]:
        (tmp_path / "chat_template.jinja").write_text(source)
        (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
        return chat_template(read_sources(tmp_path), image_token="<image>")

    return read


LOOP = "{% for part in messages[0].content %}"
IMAGE = "{% if part.type == 'image' %}<image>{% else %}"


def test_template_is_rendered_into_plain_text(
    template: Read,
) -> None:
    source = "{{ bos_token }}Q: " + LOOP + IMAGE + "{{ part.text }}{% endif %}{% endfor %} A:"
    assert template(source) == {
        "with_images": "<s>Q: {images}{text} A:",
        "text_only": "<s>Q: {text} A:",
        "image": "<image>",
        "strip": False,
    }


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for", "cannot be rendered"),
        ("{{ raise_exception('no images') }}", "no images"),
        ("{{ messages[0].content + 'x' }}", "cannot be rendered"),
        ("no question", "does not put <image>"),
        (LOOP + "{{ part.text | upper }}{% endfor %}", "cannot be rendered|does not put"),
        (LOOP + "{% if part.text %}{{ part.text }}{% endif %}{% endfor %}", "does not put <image>"),
        (
            LOOP + IMAGE + "{{ part.text | upper }}{% endif %}{% endfor %}",
            "changes the question",
        ),
        (
            LOOP + "{% if part.type == 'image' %}{{ loop.index }}<image>{% else %}{{ part.text }}"
            "{% endif %}{% endfor %}",
            "numbers its images|does not put",
        ),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
    ],
)
def test_templates_that_cannot_be_plain(template: Read, source: str, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        template(source)


@pytest.mark.parametrize("place", ["chat_template", "processor_config", "tokenizer_config"])
def test_places_of_a_chat_template(write: Write, tmp_path: Path, place: str) -> None:
    write(**{place: {"chat_template": "here"}})
    assert read_sources(tmp_path).chat_template == "here"


def test_default_template_of_several(write: Write, tmp_path: Path) -> None:
    several: list[dict[str, Any]] = [
        {"name": "rag", "template": "other"},
        {"name": "default", "template": "here"},
    ]
    write(tokenizer_config={"chat_template": several})
    assert read_sources(tmp_path).chat_template == "here"
