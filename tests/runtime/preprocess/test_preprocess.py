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
