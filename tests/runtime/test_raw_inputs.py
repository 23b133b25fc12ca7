"""A bundle with a processor: raw values converted together, tensors by themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mmedge.errors import BundleError, InputError
from mmedge.runtime import Bundle, load
from mmedge.runtime.manifest import MANIFEST, Manifest, read_manifest, sealed
from mmedge.tensors import TensorSpec

TOKENS = {
    "file": "tokenizer.json",
    "special_tokens": False,
    "padding_side": "left",
    "pad_token": "<pad>",
}
PROCESSOR: dict[str, object] = {
    "kind": "huggingface",
    "processor": "TinyProcessor",
    "image": {"method": "plain", "size": {"height": 2, "width": 2}},
    "text": {
        "method": "prompt",
        "tokens": TOKENS,
        "image_token": "<image>",
        "image_tokens": {"method": "fixed", "count": 1},
        "template": {
            "with_images": "<s> {images} {text}",
            "text_only": "<s> {text}",
            "image": "<image>",
        },
    },
}
VISION = """vision_encoder (float[batch, 3, 2, 2] pixel_values)
    => (float[batch, 8] image_features)
{ means = ReduceMean<axes = [2, 3], keepdims = 0>(pixel_values)
  image_features = MatMul(means, sight) }"""
RED = np.zeros((8, 9, 3), np.uint8) + np.uint8([250, 10, 20])
BLUE = np.zeros((6, 8, 3), np.uint8) + np.uint8([5, 30, 240])


@pytest.fixture(scope="module")
def path(vlm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, on pixels, with a processor instead of preprocessing of single inputs."""
    directory: Path = tmp_path_factory.mktemp("seeing")
    wiring = vlm.wiring()
    pixels = TensorSpec("pixel_values", "float32", ("batch", 3, 2, 2))
    inputs = [msgspec.structs.replace(item, preprocess={}) for item in wiring.inputs]
    inputs[0] = msgspec.structs.replace(inputs[0], spec=pixels)
    vision = msgspec.structs.replace(wiring.components[0], inputs=(pixels,))
    wiring = msgspec.structs.replace(
        wiring, inputs=tuple(inputs), components=(vision, *wiring.components[1:])
    )
    vlm.tokenizer_json(directory / "tokenizer.json")
    graphs = {**vlm.graphs(), "vision_encoder": VISION}
    written: Path = vlm.write(directory, wiring, graphs, processor=PROCESSOR)
    return written


@pytest.fixture(scope="module")
def bundle(path: Path) -> Iterator[Bundle]:
    with load(path, threads=1) as opened:
        yield opened


def pixels(*images: Any) -> Any:
    colours = np.stack([image[0, 0] for image in images]).astype(np.float32) / 255
    return np.broadcast_to(colours[:, :, None, None], (len(images), 3, 2, 2)).copy()


def test_raw_values_become_tensors_together(bundle: Bundle) -> None:
    tensors = bundle.preprocess({"image": RED, "text": "what is red ?"})
    assert set(tensors) == {"pixel_values", "input_ids", "attention_mask"}
    np.testing.assert_array_equal(tensors["input_ids"], [[1, 7, 8, 9, 3, 11]])
    np.testing.assert_allclose(tensors["pixel_values"], pixels(RED), rtol=1e-6)
    assert bundle.preprocess({"text": "what ?"})["input_ids"].tolist() == [[1, 8, 11]]


def test_raw_values_and_tensors_mix(bundle: Bundle) -> None:
    ids = np.array([[1, 7, 8, 9, 3, 11]])
    wanted = bundle.generate(image=RED, text="what is red ?")
    np.testing.assert_array_equal(bundle.generate(image=RED, input_ids=ids), wanted)
    np.testing.assert_array_equal(
        bundle.generate(pixel_values=pixels(RED), input_ids=ids, text=None), wanted
    )


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"image": RED, "pixel_values": pixels(RED)}, "'image' was given, and so was 'pixel_v"),
        ({"text": "red", "input_ids": np.array([[3]])}, "so was 'input_ids'"),
        ({"text": "red", "attention_mask": np.array([[1]])}, "so was 'attention_mask'"),
        ({"imgae": RED}, "did you mean 'image'"),
        ({"image": RED}, "input 'text' is missing"),
        ({"text": 7}, "text"),
    ],
)
def test_raw_values_that_do_not_fit(bundle: Bundle, inputs: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        bundle(**inputs)


def test_what_is_missing_is_asked_for_in_the_callers_words(bundle: Bundle) -> None:
    """Nobody who gives pictures and texts has heard of input_ids."""
    session = bundle.encode(image=RED)
    for call in (session, session.generate):
        with pytest.raises(InputError, match="input 'text' is missing") as caught:
            call()
        assert str(caught.value.details["found"]).startswith("image")
    with pytest.raises(InputError, match="input 'text' is missing") as caught:
        bundle()
    assert caught.value.details["found"] == "no inputs"
    with pytest.raises(InputError, match="input 'input_ids' is missing"):
        bundle.encode(pixel_values=pixels(RED)).generate()


def test_text_that_was_encoded_without_its_image_is_told(bundle: Bundle) -> None:
    """With an image the prompt is another one."""
    session = bundle.encode(text="what ?")
    session.generate()
    with pytest.raises(InputError, match="'input_ids', which was encoded, depends on"):
        session.generate(image=RED)


@pytest.mark.parametrize("questions", ["what ?", ["what is one ?", "red"]])
def test_questions_about_an_encoded_image(bundle: Bundle, questions: Any) -> None:
    session = bundle.encode(image=RED)
    images = [RED] * len(questions) if isinstance(questions, list) else RED
    np.testing.assert_array_equal(
        session.generate(text=questions), bundle.generate(image=images, text=questions)
    )
    with pytest.raises(InputError, match="'image' is settled"):
        session.generate(image=BLUE, text=questions)
    with pytest.raises(InputError, match="'pixel_values' is settled"):
        session.generate(pixel_values=pixels(BLUE), text=questions)


def test_as_many_questions_as_encoded_images(bundle: Bundle) -> None:
    session = bundle.encode(image=[RED, BLUE])
    texts = ["what is one ?", "red"]
    np.testing.assert_array_equal(
        session.generate(text=texts), bundle.generate(image=[RED, BLUE], text=texts)
    )
    with pytest.raises(InputError, match="not as many texts"):
        session.generate(text=["one", "two", "?"])


def test_the_processors_tokenizer_decodes(bundle: Bundle) -> None:
    assert bundle.decode(np.array([[3, 4], [5, 2]])) == ["red green", "blue"]


def changed(path: Path, tmp_path: Path, **fields: Any) -> Path:
    """A manifest with other fields, in a directory of its own."""
    manifest = msgspec.structs.replace(read_manifest(path), **fields)
    (tmp_path / MANIFEST).write_bytes(msgspec.json.encode(sealed(manifest)))
    return tmp_path


def test_the_processor_survives_the_manifest(path: Path) -> None:
    assert read_manifest(path).processor == PROCESSOR
    data = json.loads((path / MANIFEST).read_text())
    del data["processor"]
    assert msgspec.convert(data, Manifest).processor == {}


def test_the_files_of_a_processor_are_listed(path: Path, tmp_path: Path) -> None:
    files = {k: v for k, v in read_manifest(path).files.items() if k != "tokenizer.json"}
    with pytest.raises(BundleError, match=r"refers to tokenizer\.json and does not list it"):
        read_manifest(changed(path, tmp_path, files=files))


@pytest.mark.parametrize(
    "processor",
    [{"kind": "unheard of"}, {"kind": "huggingface", "processor": "x", "smell": {}}, {"a": 1}],
)
def test_an_unknown_processor_is_a_contradiction(
    path: Path, tmp_path: Path, processor: Any
) -> None:
    with pytest.raises(BundleError, match="contradicts itself"):
        read_manifest(changed(path, tmp_path, processor=processor))


def test_tokenizers_that_disagree_decode_nothing(vlm: Any, tmp_path: Path) -> None:
    wiring = vlm.wiring()
    vlm.tokenizer_json(tmp_path / "tokenizer.json")
    vlm.tokenizer_json(tmp_path / "other.json")
    other = {"kind": "text", "tokenizer": "other.json", "output": "attention_mask"}
    mask = msgspec.structs.replace(wiring.inputs[2], preprocess=other)
    wiring = msgspec.structs.replace(wiring, inputs=(*wiring.inputs[:2], mask))
    vlm.write(tmp_path, wiring, vlm.graphs())
    with load(tmp_path, threads=1) as opened, pytest.raises(BundleError, match=r"other\.json"):
        opened.decode(np.array([[3]]))


@pytest.mark.parametrize("method", ["prompt", "plain"])
def test_an_encoded_image_is_read_again_only_for_a_text_that_holds_it(
    path: Path, vlm: Any, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmedge.runtime.processors.huggingface import HuggingFaceProcessor

    seen: list[set[str]] = []
    convert = HuggingFaceProcessor.convert

    def watched(self: Any, values: Any, *, files: Path) -> Any:
        seen.append(set(values))
        return convert(self, values, files=files)

    monkeypatch.setattr(HuggingFaceProcessor, "convert", watched)
    text = PROCESSOR["text"] if method == "prompt" else {"method": "plain", "tokens": TOKENS}
    wiring = read_manifest(path).wiring
    vlm.tokenizer_json(tmp_path / "tokenizer.json")
    graphs = {**vlm.graphs(), "vision_encoder": VISION}
    vlm.write(tmp_path, wiring, graphs, processor={**PROCESSOR, "text": text})
    with load(tmp_path, threads=1) as bundle:
        session = bundle.encode(image=RED)
        session.generate(text="what is <image>")
    assert seen == [{"image"}, {"image", "text"} if method == "prompt" else {"text"}]
