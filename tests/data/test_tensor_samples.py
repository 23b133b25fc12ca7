"""Tensors of the model as samples: taken as they are, or one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmedge.data.samples import load_samples
from mmedge.data.tensor_samples import holds_tensors, samples_of_tensors, tensors_in
from mmedge.errors import DataError
from mmedge.project import Project, project_from_mapping

INPUTS = {
    "image": {"shape": ["batch", 3, 4, 4]},
    "words": {"shape": ["batch", "length"], "dtype": "int64"},
    "extra": {"shape": ["batch"], "optional": True},
}
IMAGES, WORDS = np.ones((2, 3, 4, 4), np.float32), np.arange(10).reshape(2, 5)


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    """`project({"a.npz": arrays, ...})`: a project whose samples they are."""

    def make(files: dict[str, dict[str, Any]]) -> Project:
        for name, content in files.items():
            np.savez(tmp_path / name, **content)
        tables = {
            "axes": {"length": {"min": 2, "opt": 5, "max": 9}},
            "data": {"samples": list(files)},
        }
        return project_from_mapping(tmp_path, {"name": "p", "inputs": INPUTS, **tables})

    return make


def test_each_file_is_a_group(project: Callable[..., Project]) -> None:
    files = {
        "a.npz": {"words": WORDS, "image": IMAGES},
        "b.npz": {"image": IMAGES[:1], "words": WORDS[:1, :3], "extra": np.ones(1, np.float32)},
    }
    samples = load_samples(project(files), "evaluation")
    assert (samples.count, samples.real, samples.origin) == (3, True, "--sample (tensors)")
    first, second = samples.groups
    assert [*first] == ["image", "words"]
    np.testing.assert_array_equal(first["words"], WORDS)
    assert [*second] == ["image", "words", "extra"]
    assert second["words"].shape == (1, 3)


@given(
    value=arrays.arrays(
        st.sampled_from([np.int32, np.int64, np.float64, np.float32, np.bool_]),
        st.tuples(st.integers(1, 3), st.integers(1, 3)),
        elements={"min_value": 0, "max_value": 1},
    )
)
def test_values_stay_and_wide_dtypes_become_what_models_take(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    path = tmp_path_factory.mktemp("any") / "x.npz"
    np.savez(path, x=value)
    found = tensors_in(path)["x"]
    np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-30)
    assert found.dtype in (np.int64, np.float32, np.bool_)


BAD: dict[str, dict[str, Any]] = {
    "holds an array without examples": {"x": np.zeros((0, 3))},
    "holds a number": {"x": np.float32(1)},
    "holds words": {"x": np.array(["a", "b"])},
    "holds unequal numbers of examples": {"x": np.zeros((2, 3)), "y": np.zeros((3, 3))},
    "holds nothing": {},
    "holds NaN": {"x": np.array([1.0, np.nan])},
    "holds more than float32 does": {"x": np.array([1e300])},
    "holds an object": {"x": np.array([{}, {}], dtype=object)},
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_what_holds_no_tensors(tmp_path: Path, content: dict[str, Any]) -> None:
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(DataError, match=r"x\.npz") as caught:
        tensors_in(tmp_path / "x.npz")
    assert caught.value.details["where"] == tmp_path / "x.npz"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive", None])
def test_what_is_no_such_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.npz"
    if content is None:
        with path.open("wb") as stream:
            np.save(stream, WORDS)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="does not hold named arrays") as caught:
        tensors_in(path)
    assert "numpy.savez" in str(caught.value.details["try"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"image": IMAGES}, "does not hold what the model takes"),
        ({"image": IMAGES, "words": WORDS, "wrods": WORDS}, "does not hold what the model takes"),
        ({"image": IMAGES[..., :3], "words": WORDS}, "wrong shape"),
        ({"image": IMAGES, "words": WORDS.astype(np.float32)}, "wrong dtype"),
        ({"image": IMAGES, "words": WORDS[:, :1]}, "length"),
    ],
)
def test_tensors_that_do_not_fit_the_model(
    project: Callable[..., Project], content: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        samples_of_tensors(project({"x.npz": content}))
    assert "x.npz" in str(caught.value)


def test_tensors_and_other_samples_do_not_mix(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=WORDS)
    (tmp_path / "x.txt").write_text("text")
    assert holds_tensors([tmp_path / "x.npz"])
    assert not holds_tensors([tmp_path / "x.txt"])
    assert not holds_tensors([])
    with pytest.raises(DataError, match="other samples beside"):
        holds_tensors([tmp_path / "x.npz", tmp_path / "x.txt"])
