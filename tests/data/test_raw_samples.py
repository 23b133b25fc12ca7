"""Raw samples: the user's files where there are any, bundled ones for what they leave out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmedge.data.raw_samples import COUNT, RawSamples, bundled_origin, raw_samples
from mmedge.data.real_samples import real_samples
from mmedge.errors import DataError, ProjectError
from mmedge.runtime.processors import RawInput

IMAGE, TEXT = RawInput("image", ("pixel_values",)), RawInput("text", ("input_ids",))
AUDIO = RawInput("audio", ("input_features",))
BOTH = {"image": IMAGE, "text": TEXT}
PAGE = {
    "image": IMAGE,
    "words": RawInput("text", ("input_ids",)),
    "boxes": RawInput("text", ("bbox",)),
}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_without_files_all_are_bundled() -> None:
    found = raw_samples(BOTH, {})
    assert (len(found.values), found.origin) == (COUNT, "bundled photographs and questions")
    assert {value["image"] for value in found.values} == {str(p) for p in real_samples().images}
    assert len({value["text"] for value in found.values}) == COUNT


@pytest.mark.parametrize(
    ("modalities", "origin"),
    [
        (["text", "image", "text"], "bundled photographs and questions"),
        (["audio"], "bundled speech"),
        (["image", "audio", "text"], "bundled photographs, questions and speech"),
        ([], "bundled samples"),
    ],
)
def test_the_origin_names_what_was_used(modalities: list[str], origin: str) -> None:
    assert bundled_origin(iter(modalities)) == origin


def test_a_sound_comes_at_the_processors_rate() -> None:
    for rate in (8_000, 48_000):
        whole, half, *_ = raw_samples({"audio": AUDIO}, {"audio": {"sample_rate": rate}}).values
        assert len(whole["audio"]) == len(real_samples().speech_at(rate))
        assert len(half["audio"]) == len(whole["audio"]) - len(whole["audio"]) // 2


def test_what_the_users_files_leave_out_is_bundled(tmp_path: Path) -> None:
    image = write(tmp_path / "cat.png", "")
    found = raw_samples(BOTH, {}, paths=[image])
    assert {value["image"] for value in found.values} == {str(image)}
    assert all(value["text"] for value in found.values)
    assert found.origin == "--sample (image)"


def test_every_one_of_the_users_texts_is_used(tmp_path: Path) -> None:
    lines = [f"question {number}" for number in range(COUNT + 3)]
    found = raw_samples(BOTH, {}, paths=[write(tmp_path / "all.txt", "\n".join(lines))])
    assert [value["text"] for value in found.values] == lines


def test_several_files_of_one_kind_are_all_used(tmp_path: Path) -> None:
    images = [write(tmp_path / f"{number}.png", "") for number in range(COUNT + 1)]
    found = raw_samples({"image": IMAGE}, {}, paths=images)
    assert [value["image"] for value in found.values] == [str(path) for path in images]


@pytest.mark.parametrize("method", ["queries", "labels"])
def test_texts_that_are_looked_for_together_stay_together(tmp_path: Path, method: str) -> None:
    options = {"text": {"method": method}}
    assert all(isinstance(value["text"], list) for value in raw_samples(BOTH, options).values)
    found = raw_samples(BOTH, options, paths=[write(tmp_path / "all.txt", "a cat\na dog\n")])
    assert {tuple(value["text"]) for value in found.values} == {("a cat", "a dog")}


def test_a_page_has_words_and_a_box_for_each() -> None:
    for value in raw_samples(PAGE, {"text": {"method": "words"}}).values:
        assert len(value["words"]) == len(value["boxes"]) > 1


def test_examples_are_whole(tmp_path: Path) -> None:
    image = write(tmp_path / "cat.png", "")
    examples = [{"image": "cat.png", "text": "a cat"}, {"image": "cat.png", "text": "a dog"}]
    wanted = tuple({**example, "image": str(image)} for example in examples)
    found = raw_samples(BOTH, {}, paths=[write(tmp_path / "all.json", examples)])
    assert found == RawSamples(wanted, "--sample")
    lines = "\n".join(json.dumps(example) for example in examples)
    assert raw_samples(BOTH, {}, paths=[write(tmp_path / "all.jsonl", lines)]).values == wanted


def test_a_modality_that_examples_leave_out_is_bundled(tmp_path: Path) -> None:
    (found,) = raw_samples(BOTH, {}, paths=[write(tmp_path / "one.json", {"text": "a"})]).values
    assert found == {"image": str(real_samples().images[0]), "text": "a"}
    page = {"words": ["a"], "boxes": [[0, 0, 9, 9]]}
    given = {**PAGE, "text": TEXT}
    (found,) = raw_samples(given, {}, paths=[write(tmp_path / "page.json", page)]).values
    assert found.keys() == {"words", "boxes", "image"}, "a page without a question stays one"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("speech.wav", "", "the model takes no audio"),
        ("unknown.json", [{"imgae": "cat.png"}], "example 0 does not have the inputs"),
        ("unequal.json", [{"text": "a"}, {"image": "b"}], "example 1 does not have the inputs"),
    ],
)
def test_a_sample_that_nothing_is_made_of_is_refused(
    tmp_path: Path, name: str, content: Any, says: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        raw_samples(BOTH, {}, paths=[write(tmp_path / name, content)])
    assert caught.value.details["expected"]


def test_examples_and_other_files_do_not_mix(tmp_path: Path) -> None:
    paths = [write(tmp_path / "all.json", [{"text": "a"}]), write(tmp_path / "cat.png", "")]
    for order in (paths, paths[::-1]):
        with pytest.raises(DataError, match="whole examples, and other samples"):
            raw_samples(BOTH, {}, paths=order)


def test_a_modality_without_samples_is_named() -> None:
    with pytest.raises(ProjectError, match="no samples for the raw input 'film'"):
        raw_samples({"film": RawInput("video", ("pixel_values",))}, {})
