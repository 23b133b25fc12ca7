"""A large file at a second place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmedge.placing import place


def test_the_bytes_are_there_once(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "deeper" / "target"
    source.write_bytes(b"weights")
    place(source, target)
    assert target.read_bytes() == b"weights"
    assert target.samefile(source)


def test_what_was_there_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    first, second, target = (tmp_path / name for name in ("first", "second", "target"))
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    place(first, target)
    place(second, target)
    assert (first.read_bytes(), target.read_bytes()) == (b"first", b"second")


def test_without_links_it_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"weights")
    place(source, target)
    assert target.read_bytes() == b"weights"
    assert not target.samefile(source)
