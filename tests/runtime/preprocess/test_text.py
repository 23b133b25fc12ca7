from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from mmedge.errors import InputError, ProjectError
from mmedge.runtime.preprocess import preprocess
from mmedge.tensors import Array, Dim, TensorSpec
from mmedge.wiring import ModelInput

WORDS = {"[PAD]": 0, "[UNK]": 1, "how": 2, "many": 3, "red": 4, "shapes": 5, "rare": 300}


def write_tokenizer(path: Path, *, length: int | None = None, padding: bool = True) -> None:
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if padding:
        tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=length)
    if length:
        tokenizer.enable_truncation(length)
    tokenizer.save(str(path))


def convert(
    value: object, files: Path, length: Dim = "tokens", dtype: str = "int64", **options: object
) -> Array:
    spec = TensorSpec("question", dtype, ("batch", length))
    given = {"kind": "text", "tokenizer": "tokenizer.json", **options}
    return preprocess(ModelInput(spec, preprocess=given), value, files=files)


@pytest.fixture
def padded(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer.json", length=4)
    return tmp_path


@pytest.fixture
def free(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer.json", padding=False)
    return tmp_path


def test_one_text_is_a_batch_of_one(padded: Path) -> None:
    found = convert("how many shapes", padded, 4)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [[2, 3, 5, 0]])


def test_a_list_is_a_batch(padded: Path) -> None:
    found = convert(["red shapes", "how blue"], padded, 4, "int32")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, [[4, 5, 0, 0], [2, 1, 0, 0]])


def test_the_attention_mask_is_another_output(padded: Path) -> None:
    found = convert("red shapes", padded, 4, "bool", output="attention_mask")
    np.testing.assert_array_equal(found, [[True, True, False, False]])


def test_the_empty_text_is_a_text(padded: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    np.testing.assert_array_equal(convert("", padded, 4), [[0, 0, 0, 0]])
    other = tmp_path_factory.mktemp("free")
    write_tokenizer(other / "tokenizer.json", padding=False)
    assert convert("", other).shape == (1, 0)


def test_truncation_is_logged(padded: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="mmedge"):
        convert("red red red red", padded, 4)
        assert not caplog.records
        found = convert("how many red shapes red", padded, 4)
    np.testing.assert_array_equal(found, [[2, 3, 4, 5]])
    assert "'question'" in caplog.text
    assert "truncated" in caplog.text


def test_unequal_lengths_are_refused(free: Path) -> None:
    with pytest.raises(InputError, match=r"different lengths.*\n.*\[1, 2\]"):
        convert(["red", "red shapes"], free)


def test_another_length_than_the_declared_one_is_refused(free: Path) -> None:
    with pytest.raises(InputError, match="wrong length"):
        convert("red shapes", free, 4)


def test_ids_beyond_the_dtype_are_refused(free: Path) -> None:
    with pytest.raises(InputError, match=r"does not fit its dtype\n.*300"):
        convert("rare", free, dtype="uint8")


def test_ids_are_integers(free: Path) -> None:
    with pytest.raises(ProjectError, match="not declared as integers"):
        convert("red", free, dtype="float32")


@pytest.mark.parametrize("value", [None, 3, [], ["red", 3], b"red", np.array(["red"])])
def test_what_is_no_text_is_refused(free: Path, value: object) -> None:
    with pytest.raises(InputError, match="input 'question' takes text"):
        convert(value, free)


def test_text_that_is_no_unicode_is_refused(free: Path) -> None:
    with pytest.raises(InputError, match="refused the text"):
        convert("\ud800", free)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"tokenizer\.json is missing"):
        convert("red", tmp_path)


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ProjectError, match=r"tokenizer\.json is not a tokenizer file"):
        convert("red", tmp_path)


def test_a_tokenizer_that_changed_is_read_again(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.json", length=4)
    assert convert("red", tmp_path).shape == (1, 4)
    (tmp_path / "tokenizer.json").unlink()
    write_tokenizer(tmp_path / "tokenizer.json", length=2)
    assert convert("red", tmp_path).shape == (1, 2)
