from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import pytest

from mmedge.errors import BuildError, ProjectError
from mmedge.strict import decode, nearest, read_toml


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    width: int = 1


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["cat", "dog"]
    version: str = ""


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: Inner = msgspec.field(default_factory=Inner)
    named: dict[str, Inner] = {}
    maybe: Inner | None = None
    free: dict[str, object] = {}
    strict: dict[str, Strict] = {}
    kind: Literal["cat", "dog"] | None = None
    renamed: int = msgspec.field(default=0, name="other.name")


@pytest.mark.parametrize(
    ("data", "table", "near"),
    [
        ({"nmae": "x"}, "the top level", "'name'"),
        ({"name": "x", "inner": {"widht": 1}}, "[inner]", "'width'"),
        ({"name": "x", "named": {"a": {"widht": 1}}}, "[named.a]", "'width'"),
        ({"name": "x", "maybe": {"widht": 1}}, "[maybe]", "'width'"),
        ({"name": "x", "other.nam": 1}, "the top level", "'other.name'"),
        ({"name": "x", "inner": {"zzzzz": 1}}, "[inner]", "known: width"),
    ],
)
def test_an_unknown_key_names_its_table_and_the_nearest(
    data: object, table: str, near: str
) -> None:
    with pytest.raises(ProjectError, match="unknown key") as caught:
        decode(data, Outer, where="file.toml")
    assert table in caught.value.what
    assert near in str(caught.value.details["try"])
    assert caught.value.details["where"] == "file.toml"


@pytest.mark.parametrize(
    "data",
    [
        {"name": 1},
        {"name": "x", "inner": []},
        {"name": "x", "inner": {"width": "1"}},
        {"name": "x", "inner": {"width": 1.5}},
        {"name": "x", "named": {"a": 3}},
        {"name": "x", "maybe": "no"},
        [],
        "text",
    ],
)
def test_a_wrong_type_says_where(data: object) -> None:
    with pytest.raises(BuildError, match="wrong type") as caught:
        decode(data, Outer, where="options", error=BuildError)
    assert caught.value.details["found"]


@pytest.mark.parametrize(
    ("data", "what", "expected"),
    [
        ({}, "'name' is missing from the top level", None),
        ({"name": "x", "kind": "cow"}, "kind has a value", "'cat', 'dog'"),
        ({"name": "x", "strict": {"a": {}}}, "'kind' is missing", "'cat', 'dog'"),
    ],
)
def test_what_may_be_there_is_listed(data: object, what: str, expected: str | None) -> None:
    with pytest.raises(ProjectError) as caught:
        decode(data, Outer, where="file")
    assert what in caught.value.what
    assert caught.value.details["expected"] == expected


def test_a_number_where_a_text_is_wanted_takes_quotes() -> None:
    with pytest.raises(ProjectError, match="wrong type") as caught:
        decode({"kind": "cat", "version": 8.6}, Strict, where="file")
    assert caught.value.details["try"] == 'write it in quotes: version = "8.6"'


def test_what_fits_is_decoded() -> None:
    data = {"name": "x", "named": {"a": {"width": 2}}, "free": {"any": {"thing": [1]}}}
    found = decode(data, Outer, where="")
    assert found.named["a"].width == 2
    assert found.free == {"any": {"thing": [1]}}


def test_nearest_lists_all_where_nothing_is_near() -> None:
    assert nearest("imgae", ["image", "text"]) == "did you mean 'image'?"
    assert nearest("cup", ["cpu", "cpu-opset18"]) == "did you mean 'cpu'?"
    for unknown, known in (("qqq", "image"), ("foo", "odom"), ("tpu", "cpu")):
        assert nearest(unknown, [known, "text"]) == f"known: {known}, text"


def test_a_beginning_is_nearer_than_a_likeness_and_case_does_not_count() -> None:
    known = ["rtx-3060-12g", "rtx-4060", "rtx-5070"]
    assert nearest("rtx-3060", known) == "did you mean 'rtx-3060-12g'?"
    assert nearest("RTX-3060-12G", known) == "did you mean 'rtx-3060-12g'?"
    assert nearest("rtx", known) == "did you mean 'rtx-3060-12g' or 'rtx-4060' or 'rtx-5070'?"
    assert nearest("rt", known).startswith("known: ")


def test_toml_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    with pytest.raises(ProjectError, match="does not exist"):
        read_toml(path)
    path.write_text("name = 'x'\nname = = 2")
    with pytest.raises(ProjectError, match=r"not valid TOML") as caught:
        read_toml(path)
    assert "line 2" in str(caught.value)
    path.write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(ProjectError, match="not valid TOML"):
        read_toml(path)
    with pytest.raises(ProjectError, match="cannot be read"):
        read_toml(tmp_path)
