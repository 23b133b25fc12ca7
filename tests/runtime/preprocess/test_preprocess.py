from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmedge.errors import InputError, ProjectError
from mmedge.runtime.preprocess import preprocess, preprocess_files
from mmedge.tensors import TensorSpec
from mmedge.wiring import ModelInput

PIXELS = TensorSpec("image", "float32", ("batch", 3, 4, 4))
IMAGE = {"kind": "image", "size": [4, 4]}


def test_a_declared_tensor_is_returned_as_it_is(tmp_path: Path) -> None:
    value = np.full((2, 3, 4, 4), np.nan, np.float32)
    assert preprocess(ModelInput(PIXELS, preprocess=IMAGE), value, files=tmp_path) is value
    assert preprocess(ModelInput(PIXELS), value, files=tmp_path) is value


@pytest.mark.parametrize("value", ["a.png", np.zeros((3, 4, 4), np.float32), [1.0], None])
def test_a_raw_value_without_preprocessing_names_the_tensor(tmp_path: Path, value: object) -> None:
    with pytest.raises(InputError, match=r"numpy array image: float32\[batch, 3, 4, 4\]"):
        preprocess(ModelInput(PIXELS), value, files=tmp_path)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (np.zeros((3, 4, 4), np.float32), "add the batch axis: array[None]"),
        (np.zeros((1, 3, 4, 4)), 'array.astype("float32")'),
        (np.zeros((3, 4, 4)), "add the batch axis: array[None], and convert it: array.astype("),
    ],
)
@pytest.mark.parametrize("options", [{}, IMAGE])
def test_an_array_that_does_not_fit_is_told_how_to(
    tmp_path: Path, value: object, hint: str, options: dict
) -> None:
    with pytest.raises(InputError) as caught:
        preprocess(ModelInput(PIXELS, preprocess=options), value, files=tmp_path)
    assert hint in str(caught.value.details["try"])


@pytest.mark.parametrize(("options", "hint"), [({}, "None"), (IMAGE, "check the path")])
def test_a_file_that_is_not_there(tmp_path: Path, options: dict, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        preprocess(ModelInput(PIXELS, preprocess=options), "a.png", files=tmp_path)
    assert hint in str(caught.value.details["try"])


@pytest.mark.parametrize(
    ("dtype", "value", "fits"),
    [
        ("float32", [[1, 2.5]], True),
        ("float16", [[1, 2]], True),
        ("int64", [[1, 2]], True),
        ("int8", [[1, 127]], True),
        ("bool", [[True, False]], True),
        ("bool", [[1, 0]], True),
        ("int8", [[1, 128]], False),
        ("uint8", [[1, -1]], False),
        ("int64", [[1, 0.5]], False),
        ("bool", [[1, 2]], False),
        ("float32", [1.0, 2.0], False),
        ("float32", [[1.0], [2.0, 3.0]], False),
        ("float32", [["a", "b"]], False),
        ("float32", [[]], False),
    ],
)
def test_nested_numbers_take_the_declared_dtype(
    tmp_path: Path, dtype: str, value: list, fits: bool
) -> None:
    item = ModelInput(TensorSpec("x", dtype, ("batch", 2)))
    if fits:
        array = preprocess(item, value, files=tmp_path)
        assert array.dtype == np.dtype(dtype)
        assert array.tolist() == value
    else:
        with pytest.raises(InputError, match="takes a tensor"):
            preprocess(item, value, files=tmp_path)


def test_a_tensor_of_another_library_keeps_its_dtype(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    item = ModelInput(PIXELS, preprocess=IMAGE)
    tensor = torch.ones(1, 3, 4, 4, requires_grad=True)
    np.testing.assert_array_equal(preprocess(item, tensor, files=tmp_path), np.ones((1, 3, 4, 4)))
    pixels = preprocess(item, torch.full((4, 4, 3), 255, dtype=torch.uint8), files=tmp_path)
    np.testing.assert_array_equal(pixels, np.ones((1, 3, 4, 4)))
    with pytest.raises(InputError, match="takes images"):
        preprocess(item, tensor.double(), files=tmp_path)
    with pytest.raises(InputError, match="cannot be read as an array"):
        preprocess(item, tensor.bfloat16(), files=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "images", "size": [4, 4]}, "did you mean 'image'"),
        ({"size": [4, 4]}, "unknown kind"),
        ({"kind": "image"}, "size"),
        ({"kind": "image", "sizes": [4, 4]}, "did you mean 'size'"),
        ({"kind": "image", "size": [4]}, "size"),
        ({"kind": "image", "size": [0, 4]}, "size"),
        ({"kind": "image", "size": ["4", "4"]}, "size"),
        ({"kind": "image", "size": [4, 4], "mean": [0.5, 0.5]}, "2 values for 3"),
        ({"kind": "image", "size": [4, 4], "mean": [0, 0, 0], "color": "gray"}, "3 values for 1"),
        ({"kind": "image", "size": [4, 4], "std": [0, 1, 1]}, "not positive"),
        ({"kind": "image", "size": [4, 4], "mean": []}, "mean"),
        ({"kind": "image", "size": [4, 4], "color": "rgba"}, "color"),
        ({"kind": "image", "size": [4, 4], "resize": "lanczos"}, "resize"),
        ({"kind": "image", "size": [4, 4], "layout": "nchw"}, "layout"),
        ({"kind": "text"}, "tokenizer"),
        ({"kind": "text", "tokenizer": ""}, "not a file below"),
        ({"kind": "text", "tokenizer": "/etc/tokenizer.json"}, "not a file below"),
        ({"kind": "text", "tokenizer": "../tokenizer.json"}, "not a file below"),
        ({"kind": "text", "tokenizer": "t.json", "output": "id"}, "output"),
        ({"kind": "waveform"}, "sample_rate"),
        ({"kind": "waveform", "sample_rate": 0}, "sample_rate"),
        ({"kind": "waveform", "sample_rate": 16000, "length": 0}, "length"),
        ({"kind": "waveform", "sample_rate": 16000.0}, "sample_rate"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ProjectError, match=message) as caught:
        preprocess_files(ModelInput(PIXELS, preprocess=options))
    assert "[inputs.image.preprocess]" in str(caught.value)


def test_only_text_needs_a_file() -> None:
    ids = TensorSpec("question", "int64", ("batch", "tokens"))
    text = {"kind": "text", "tokenizer": "assets/tokenizer.json"}
    assert preprocess_files(ModelInput(ids, preprocess=text)) == ["assets/tokenizer.json"]
    assert preprocess_files(ModelInput(PIXELS, preprocess=IMAGE)) == []
    assert preprocess_files(ModelInput(PIXELS)) == []


def test_a_size_that_is_not_the_declared_one_is_an_error(tmp_path: Path) -> None:
    item = ModelInput(PIXELS, preprocess={"kind": "image", "size": [4, 5]})
    with pytest.raises(InputError, match=r"float32\[1, 3, 4, 5\]"):
        preprocess(item, np.zeros((4, 4, 3), np.uint8), files=tmp_path)
