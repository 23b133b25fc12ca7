"""Options and values that cannot be: every one is named, with what was expected instead."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image
from zoo import tokenizers

from mmedge.data.real_samples import RealSamples
from mmedge.errors import InputError, ProjectError
from mmedge.runtime.processors import load_processor

from .conftest import Saved

Save = Callable[..., Saved]
SQUARE = {"height": 24, "width": 24}
PLAIN_IMAGE = {"method": "plain", "size": SQUARE}


def clip() -> Any:
    pixels = transformers.CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=SQUARE)
    return transformers.CLIPProcessor(pixels, tokenizers.clip())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "hugingface", "processor": "X"}, "unknown kind of processor 'hugingface'"),
        ({"processor": "X"}, "unknown kind of processor None"),
        ({"kind": "huggingface", "processor": "X"}, "converts nothing"),
        ({"kind": "huggingface", "image": PLAIN_IMAGE}, "processor"),
        ({"image": {"method": "plane"}}, "did you mean 'plain'"),
        ({"image": {**PLAIN_IMAGE, "sise": SQUARE}}, "unknown key 'sise'"),
        ({"image": {**PLAIN_IMAGE, "mean": [0.5]}}, "mean and std"),
        ({"image": {**PLAIN_IMAGE, "mean": [0.5], "std": [0.0]}}, "divides by zero"),
        ({"image": {"method": "plain", "size": {}}}, "a size needs"),
        ({"image": {"method": "plain", "size": {"height": 0, "width": 3}}}, ">= 1"),
        ({"image": {**PLAIN_IMAGE, "resample": 9}}, "<= 5"),
        ({"audio": {"method": "log_mel", "sample_rate": 16_000}}, "samples"),
        ({"text": {"method": "plain", "tokens": {"file": "../x.json"}}}, "below the checkpoint"),
        ({"text": {"method": "plain", "tokens": {"padding": "max_length"}}}, "needs max_length"),
        ({"text": {"method": "plain", "tokens": {"padding_side": "up"}}}, "padding_side"),
        ({"text": {"method": "words"}}, "tokens"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    known = {} if "kind" in options or "processor" in options else {"kind": "huggingface"}
    named = {"processor": "CLIPProcessor"} if known else {}
    with pytest.raises(ProjectError, match=message):
        load_processor({**known, **named, **options}, where="bundle.json")


PROMPT = {
    "method": "prompt",
    "tokens": {},
    "image_token": "<image>",
    "image_tokens": {"method": "fixed", "count": 2},
    "template": {"with_images": "{images}{text}", "text_only": "{text}", "image": "<image>"},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": {**PROMPT["template"], "text_only": "no place"}}, "exactly once"),  # type: ignore[dict-item]
        ({"image_tokens": {"method": "fxed", "count": 2}}, "did you mean 'fixed'"),
        ({"image_tokens": {"method": "fixed"}}, "count"),
    ],
)
def test_impossible_prompt_options(change: dict[str, Any], message: str) -> None:
    options = {"kind": "huggingface", "processor": "X", "text": {**PROMPT, **change}}
    with pytest.raises(ProjectError, match=message):
        load_processor(options, where="bundle.json")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no inputs were given"),
        ({"imag": 0}, "did you mean 'image'"),
        ({"audio": 0}, "there is no input 'audio'"),
        ({"image": []}, "empty list"),
        ({"image": [[]]}, "empty list"),
        ({"image": None}, "NoneType"),
        ({"image": 3.5}, "takes an image"),
        ({"image": "missing.jpg"}, "cannot be read as an image"),
        ({"image": np.zeros((4, 4, 3), np.float32)}, "astype"),
        ({"image": np.zeros((4, 4), np.int64)}, r"int64\[4, 4\]"),
        ({"image": np.zeros((5, 6, 2), np.uint8)}, r"uint8\[2, 5, 6\]"),
        ({"image": np.zeros((5, 4, 4, 3), np.uint8)}, "takes an image"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "impossible size"),
        ({"image": Image.new("F", (4, 4))}, "32-bit pixels"),
        ({"image": Image.new("RGB", (30_000, 1))}, None),
        ({"image": [[Image.new("RGB", (4, 4))] * 2]}, "one image with every text"),
        ({"text": 3}, "takes text"),
        ({"text": []}, "an empty list"),
        ({"text": ["a", None]}, "NoneType at index 1"),
        ({"text": np.array(["a"])}, "ndarray"),
    ],
)
def test_values_that_do_not_fit(
    saved: Save, values: dict[str, object], message: str | None
) -> None:
    ours = saved(clip())
    if message is None:  # narrow, and still within bounds
        assert ours.convert(**values)["pixel_values"].shape == (1, 3, 24, 24)
        return
    with pytest.raises(InputError, match=message):
        ours.convert(**values)


def test_image_too_narrow_to_be_resized_is_refused_before_it_takes_memory(saved: Save) -> None:
    """Its short edge would become 24, and its long one 24 times 5 million."""
    with pytest.raises(InputError, match="aspect ratio"):
        saved(clip()).convert(image=Image.new("RGB", (5_000_000, 1)))


@pytest.mark.parametrize(("edge", "message"), [(20_000, "400000000 pixels"), (12_000, "12000 x")])
def test_header_that_claims_too_many_pixels_is_refused_unread(
    saved: Save, tmp_path: Path, edge: int, message: str
) -> None:
    """By Pillow itself, and by our own limit below its."""
    (tmp_path / "large.ppm").write_bytes(f"P6 {edge} {edge} 255\n".encode())
    with pytest.raises(InputError, match=message):
        saved(clip()).convert(image=tmp_path / "large.ppm")


def test_file_that_is_no_image_and_one_that_is_cut_short(
    saved: Save, samples: RealSamples, tmp_path: Path
) -> None:
    ours = saved(clip())
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(InputError, match="cannot be read as an image"):
        ours.convert(image=tmp_path / "text.jpg")
    whole = samples.images[0].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        ours.convert(image=tmp_path / "cut.jpg")


def test_text_without_a_token_is_refused(saved: Save) -> None:
    with pytest.raises(InputError, match="no tokens"):
        saved(tokenizers.gpt2()).convert(text="")


def test_tokenizer_that_did_not_travel_along_is_named(saved: Save, tmp_path: Path) -> None:
    ours = saved(clip())
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ProjectError, match=r"tokenizer.json is missing"):
        ours.convert(text="a")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ProjectError, match="not a tokenizer file"):
        ours.convert(text="a")


def test_files_are_all_it_reads(saved: Save, samples: RealSamples, tmp_path: Path) -> None:
    ours = saved(clip())
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for name in ours.processor.files():
        shutil.copy(ours.directory / name, bundle)
    values: dict[str, object] = {"image": samples.images[0], "text": samples.captions[0]}
    moved = ours.processor.convert(values, files=bundle)
    here = ours.convert(**values)
    assert all((moved[name] == here[name]).all() for name in here)


def test_raw_inputs_name_the_tensors_they_decide(saved: Save) -> None:
    inputs = saved(clip()).processor.raw_inputs()
    assert inputs["image"].tensors == ("pixel_values",)
    assert inputs["text"].tensors == ("input_ids", "attention_mask")
    assert {one.modality for one in inputs.values()} == {"image", "text"}


def test_converting_needs_neither_torch_nor_transformers(saved: Save, samples: RealSamples) -> None:
    """In an interpreter of its own, where importing them fails."""
    ours = saved(clip())
    code = f"""
import json, sys
for name in ("torch", "transformers", "jinja2", "onnx"):
    sys.modules[name] = None
from pathlib import Path
from mmedge.checkpoint.processor_files import processor_options
from mmedge.runtime.processors import load_processor
directory = Path({str(ours.directory)!r})
processor = load_processor(processor_options(directory).options, where="test")
tensors = processor.convert({{"image": {str(samples.images[0])!r}, "text": "a"}}, files=directory)
print(json.dumps(sorted(tensors)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == ["attention_mask", "input_ids", "pixel_values"]
