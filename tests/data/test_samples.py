from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmedge.data.samples import SYNTHETIC_COUNT, load_samples
from mmedge.errors import DataError
from mmedge.project import Project, project_from_mapping
from mmedge.stage import Samples

INPUTS = {
    "image": {"shape": ["batch", 3, 4, 4]},
    "words": {"shape": ["batch", "length"], "dtype": "int64"},
}
GOOD = '{"image": np.ones((3, 4, 4), np.float32), "words": np.arange(5)}'

MakeProject = Callable[..., Project]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """`make_project("return [...]")`: a project whose data.py has this `samples` function."""

    def make(body: str = "", *, inputs: dict[str, Any] | None = None, **data: str) -> Project:
        lines = f"import numpy as np\n\ndef samples():\n    {body or 'return []'}\n"
        (tmp_path / "data.py").write_text(lines)
        tables = {"evaluation": "data:samples"} if body else {}
        project = {"name": "p", "inputs": inputs or INPUTS, "data": {**tables, **data}}
        axes = {"axes": {"length": {"min": 1, "opt": 6, "max": 9}}} if inputs is None else {}
        return project_from_mapping(tmp_path, {**project, **axes})

    return make


def refused(project: Project) -> DataError:
    with pytest.raises(DataError) as caught:
        load_samples(project, "evaluation")
    return caught.value


def test_samples_become_batches(make_project: MakeProject) -> None:
    samples = load_samples(make_project(f"return [({GOOD}, k) for k in range(3)]"), "evaluation")
    assert samples.count == 3
    assert samples.real
    assert samples.origin == "data:samples"
    assert samples.targets == [0, 1, 2]
    assert samples.groups[0]["image"].shape == (3, 3, 4, 4)
    assert samples.groups[0]["words"].dtype == np.int64
    np.testing.assert_array_equal(samples.rows(1, 3)["words"], [np.arange(5)] * 2)


def test_a_generator_without_targets_is_enough(make_project: MakeProject) -> None:
    samples = load_samples(make_project(f"yield {GOOD}"), "evaluation")
    assert (samples.count, samples.targets) == (1, None)


def test_first_repeats_examples_where_there_are_fewer(make_project: MakeProject) -> None:
    body = 'return [{"image": np.full((3, 4, 4), k, "f"), "words": np.arange(5)} for k in (1, 2)]'
    first = load_samples(make_project(body), "evaluation").first(5)
    assert first["image"][:, 0, 0, 0].tolist() == [1, 2, 1, 2, 1]


def test_either_set_stands_in_for_a_missing_calibration_set(make_project: MakeProject) -> None:
    assert load_samples(make_project(f"yield {GOOD}"), "calibration").real


def test_calibration_data_are_not_judged_by(make_project: MakeProject) -> None:
    project = make_project(calibration="data:samples")
    assert load_samples(project, "evaluation").real is False


@pytest.mark.parametrize(
    ("body", "what", "detail"),
    [
        ("return []", "returned no samples", "synthetic"),
        ("return iter(())", "returned no samples", "synthetic"),
        ("raise OSError('no disk')", "failed", "OSError: no disk"),
        (f"yield {GOOD}; 1 / 0", "failed", "ZeroDivisionError"),
        ("return 3", "failed", "not iterable"),
        ("return [np.ones(3)]", "sample 0 of data:samples is not a sample", "ndarray"),
        (f"return [({GOOD}, 1), {GOOD}]", "only some samples", "1 of 2"),
        (
            f"return [{GOOD}, {{'image': np.ones((3, 4, 4), np.float32)}}]",
            "sample 1 of data:samples has no input 'words'",
            "image",
        ),
    ],
)
def test_what_is_not_a_set_of_samples_is_refused(
    make_project: MakeProject, body: str, what: str, detail: str
) -> None:
    error = refused(make_project(body))
    assert what in error.what
    assert detail in str(error)


def with_image(expression: str) -> str:
    return f"return [{{'image': a, 'words': np.arange(5)}} for a in ({expression})]"


@pytest.mark.parametrize(
    ("images", "what", "detail"),
    [
        ("np.full((2, 3, 4, 4), np.nan, 'f')", "NaN or infinity in 'image'", "2 of 2"),
        ("[np.ones((3, 4, 4), 'f'), np.full((3, 4, 4), np.inf, 'f')]", "NaN", "number 1"),
        ("[np.ones((3, 4, 5), 'f')]", "image", "4, 5"),
        ("[np.ones((3, 4, 4), 'f'), np.ones((4, 4), 'f')]", "sample 1 of data:samples", "image"),
        ("[np.ones((3, 4, 4))]", "sample 0 of data:samples", "float64"),
        ("['photo.png']", "sample 0 of data:samples", "image"),
        ("[np.ones((2, 3, 4, 4), 'f')]", "sample 0 of data:samples", "2, 3, 4, 4"),
        ("[None]", "sample 0 of data:samples", "image"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    make_project: MakeProject, images: str, what: str, detail: str
) -> None:
    error = refused(make_project(with_image(images)))
    assert what in error.what
    assert detail in str(error)


def test_lengths_along_a_named_axis_make_groups(make_project: MakeProject) -> None:
    sample = '({"image": np.ones((3, 4, 4), "f"), "words": np.arange(n)}, n)'
    samples = load_samples(
        make_project(f"return [{sample} for n in (5, 6, 5, 7, 5)]"), "evaluation"
    )
    assert [group["words"].shape for group in samples.groups] == [(3, 5), (1, 6), (1, 7)]
    assert samples.targets == [5, 5, 5, 6, 7]
    assert samples.sizes == [3, 1, 1]
    assert samples.count == 5
    assert samples.first(4)["words"].shape == (4, 5)


def test_shapes_along_a_fixed_axis_name_the_axis_and_every_shape(
    make_project: MakeProject,
) -> None:
    error = refused(make_project(with_image("np.ones((3, 4, n), 'f') for n in (4, 4, 5)")))
    assert "sample 2 of data:samples" in error.what
    assert "5 along axis 3, which is 4" in error.what
    assert "over all samples, [3, 4, 4] in 2, [3, 4, 5] in 1" in str(error.details["found"])


def test_shapes_are_listed_without_the_axes_that_may_differ(make_project: MakeProject) -> None:
    inputs = {"x": {"shape": ["batch", "time", 2]}}
    body = 'return [{"x": np.ones(shape, "f")} for shape in ((5, 2), (6, 2), (7, 3))]'
    found = str(refused(make_project(body, inputs=inputs)).details["found"])
    assert "[time, 2] in 2, [time, 3] in 1" in found


def test_lengths_that_may_differ_are_not_blamed_for_a_dtype(make_project: MakeProject) -> None:
    inputs = {"x": {"shape": ["batch", "time", 2]}}
    body = 'return [{"x": np.ones((n, 2))} for n in (5, 6)]'
    assert refused(make_project(body, inputs=inputs)).details["found"] == "float64"


def test_inputs_of_one_example_agree_about_an_axis(make_project: MakeProject) -> None:
    inputs = {"first": {"shape": ["batch", "time", 2]}, "second": {"shape": ["batch", "time"]}}
    body = 'yield {"first": np.ones((4, 2), "f"), "second": np.ones(5, "f")}'
    assert "about axis 'time' (4)" in refused(make_project(body, inputs=inputs)).what


@pytest.mark.parametrize(
    ("image", "fits"),
    [
        ("__import__('torch').ones(3, 4, 4)", True),
        ("__import__('torch').ones(3, 4, 4, requires_grad=True)", True),
        ("np.ones((3, 4, 4)).tolist()", True),
        ("np.ones((3, 4, 4), int).tolist()", True),
        ("__import__('torch').ones(3, 4, 4).double()", False),
        ("np.ones((3, 4, 4))", False),
    ],
)
def test_tensors_and_numbers_become_arrays_and_dtypes_stay_strict(
    make_project: MakeProject, image: str, fits: bool
) -> None:
    project = make_project(with_image(f"[{image}]"))
    if fits:
        group = load_samples(project, "evaluation").groups[0]
        assert group["image"].dtype == np.float32
        assert group["image"].shape == (1, 3, 4, 4)
    else:
        assert "astype('float32')" in str(refused(project).details["try"])


def test_a_loader_that_raises_names_the_line(make_project: MakeProject) -> None:
    error = refused(make_project("raise OSError('no disk')"))
    assert str(error.details["where"]).endswith("data.py:4: raise OSError('no disk')")


def test_a_loader_that_returns_none(make_project: MakeProject) -> None:
    assert "returned None" in refused(make_project("samples = []")).what


def test_a_loader_that_never_ends(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmedge.data.samples.MOST_SAMPLES", 7)
    error = refused(make_project(f"while True: yield {GOOD}"))
    assert "does not end" in error.what
    assert "more than 7 samples" in str(error)


@pytest.mark.parametrize(
    ("given", "found"),
    [(', "has_image": np.array(False)', {"image", "has_image"}), ("", {"image"})],
)
def test_an_indicator_may_be_given_or_left_to_the_runtime(
    make_project: MakeProject, given: str, found: set[str]
) -> None:
    inputs = {
        "image": {"shape": ["batch", 2], "optional": True},
        "has_image": {"shape": ["batch"], "dtype": "bool", "indicates": "image"},
    }
    project = make_project(f'yield {{"image": np.ones(2, "f"){given}}}', inputs=inputs)
    assert set(load_samples(project, "evaluation").groups[0]) == found


@pytest.mark.parametrize(("words", "fits"), [(1, True), (9, True), (10, False)])
def test_an_axis_keeps_its_declared_range(
    make_project: MakeProject, words: int, fits: bool
) -> None:
    sample = f'{{"image": np.ones((3, 4, 4), "f"), "words": np.arange({words})}}'
    project = make_project(f"yield {sample}")
    if fits:
        assert load_samples(project, "evaluation").groups[0]["words"].shape == (1, words)
    else:
        assert "outside 1..9" in refused(project).what


def synthetic(project: Project) -> Samples:
    samples = load_samples(project, "evaluation")
    assert (samples.origin, samples.real, samples.targets) == ("synthetic", False, None)
    return samples


def test_synthetic_samples_fit_the_declaration_and_say_what_they_are(
    make_project: MakeProject,
) -> None:
    samples = synthetic(make_project())
    assert samples.count == SYNTHETIC_COUNT
    assert samples.groups[0]["image"].shape == (SYNTHETIC_COUNT, 3, 4, 4)
    assert samples.groups[0]["words"].shape == (SYNTHETIC_COUNT, 6)
    assert samples.groups[0]["image"].dtype == np.float32
    assert set(np.unique(samples.groups[0]["words"])) <= {0, 1}
    again = synthetic(make_project())
    np.testing.assert_array_equal(again.groups[0]["image"], samples.groups[0]["image"])


def test_synthetic_samples_are_counted_along_the_leading_axis(make_project: MakeProject) -> None:
    inputs = {"image": {"shape": ["images", 2]}, "one": {"shape": [1, 2]}}
    samples = synthetic(make_project(inputs=inputs))
    assert samples.first(3)["image"].shape == (3, 2)
    assert samples.rows(0, 1)["one"].shape == (1, 2)


def test_synthetic_indicators_are_left_to_the_runtime(make_project: MakeProject) -> None:
    inputs = {
        "image": {"shape": ["batch", 2], "optional": True},
        "has_image": {"shape": ["batch"], "dtype": "bool", "indicates": "image"},
    }
    assert set(synthetic(make_project(inputs=inputs)).groups[0]) == {"image"}
