"""Sample files: what is in them, and one clear error for each that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedge.errors import DataError
from mmedge.project import DataTable, Project, ProjectFile
from mmedge.sample_files import files_behind, read_sample


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_what_is_no_text_is_its_path(tmp_path: Path) -> None:
    named = (("image", "a cat.PNG"), ("audio", "speech.wav"), ("tensors", "both.npz"))
    for kind, name in named:
        path = write(tmp_path / name, b"anything")
        assert read_sample(path) == (kind, [str(path)])


def test_a_text_is_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "questions.txt", "what is it?\n\n  \nwho är hier?\n")
    assert read_sample(path) == ("text", ["what is it?", "who är hier?"])


def test_examples_as_a_list_one_and_by_line(tmp_path: Path) -> None:
    one, two = {"text": "a"}, {"text": "b"}
    written = {
        "list.json": json.dumps([one, two]),
        "lines.jsonl": f"{json.dumps(one)}\n\n  \n{json.dumps(two)}\n",
    }
    for name, text in written.items():
        assert read_sample(write(tmp_path / name, text)) == ("examples", [one, two])
    assert read_sample(write(tmp_path / "one.json", json.dumps(one))) == ("examples", [one])


def test_files_are_named_as_seen_from_the_examples(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    cat, dog = (write(tmp_path / "deep" / f"{name}.png", name) for name in ("cat", "dog"))
    example = {"image": ["cat.png", ["dog.png"]], "text": "cat.png?", "n": 3}
    path = write(tmp_path / "deep" / "all.json", json.dumps([example]))
    _, (found,) = read_sample(path)
    assert found == {"image": [str(cat), [str(dog)]], "text": "cat.png?", "n": 3}
    assert files_behind(path) == (path, cat, dog)
    assert files_behind(cat) == (cat,)


@given(text=st.text(max_size=400))
def test_any_text_is_a_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Too long for a file's name, with a NUL, with separators: it names no file."""
    path = tmp_path_factory.mktemp("any") / "one.json"
    write(path, json.dumps([{"text": text}]))
    _, (found,) = read_sample(path)
    assert found["text"] in (text, str(path))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.png", None, "is not a file"),
        ("sound.mp3", b"ID3", "mp3 is no sample that mmedge reads"),
        ("no_suffix", b"x", "is no sample"),
        ("empty.txt", "", "holds no text"),
        ("blank.txt", " \n\t\n", "holds no text"),
        ("latin.txt", b"caf\xe9", "cannot be read as text"),
        ("broken.json", '[{"text": "a"', "is not JSON"),
        ("broken.jsonl", '{"text": "a"}\n{"text"\n', "is not JSON"),
        ("deep.json", "[" * 100_000, "is not JSON"),
        ("latin.json", b'[{"text": "caf\xe9"}]', "cannot be read as text"),
        ("empty.json", "[]", "holds no examples"),
        ("empty.jsonl", "", "holds no examples"),
        ("texts.json", '["a", "b"]', "holds no examples"),
        ("number.json", "3", "holds no examples"),
        ("nothing.json", "[{}]", "holds no examples"),
    ],
)
def test_what_is_no_sample_is_told(
    tmp_path: Path, name: str, content: str | bytes | None, says: str
) -> None:
    if content is not None:
        write(tmp_path / name, content)
    with pytest.raises(DataError, match=says) as caught:
        read_sample(tmp_path / name)
    assert caught.value.details["where"]


def test_the_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "broken.jsonl", '{"text": "a"}\n{"text"\n')
    with pytest.raises(DataError) as caught:
        read_sample(path)
    assert caught.value.details["where"] == f"{path}:2"


def test_a_directory_is_no_sample(tmp_path: Path) -> None:
    (tmp_path / "cats.png").mkdir()
    with pytest.raises(DataError, match="is not a file"):
        read_sample(tmp_path / "cats.png")


def test_a_project_is_another_when_a_file_of_its_examples_changes(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    image = write(tmp_path / "cat.png", "one")
    examples = write(tmp_path / "all.json", json.dumps([{"image": "cat.png"}]))

    def digest() -> Any:
        file = ProjectFile(name="x", data=DataTable(samples=(str(examples),)))
        return Project(tmp_path / "project", file).digest()

    before = digest()
    assert digest() == before
    write(image, "two")
    assert digest() != before
