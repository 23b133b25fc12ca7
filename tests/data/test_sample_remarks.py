"""A remark about a sample says that it is about one, and is made once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from mmedge.data.processed import processed
from mmedge.data.sample_remarks import sample_remarks
from mmedge.proposing import propose

runtime = logging.getLogger("mmedge.runtime.processors.tokenize")


def test_a_remark_is_told_once_of_each_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for checkpoint in (tmp_path, tmp_path, tmp_path / "another"):
        with sample_remarks("own.txt", checkpoint):
            runtime.warning("%d cut", 3)
            runtime.warning("%d cut", 3)
    assert caplog.messages == ["of the samples (own.txt): 3 cut"] * 2


def test_afterwards_remarks_are_as_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refused() -> None:
        with sample_remarks("own.txt", tmp_path):
            runtime.warning("cut")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        refused()
    runtime.warning("of the user's")
    assert caplog.messages == ["of the samples (own.txt): cut", "of the user's"]


def test_texts_that_are_cut(
    checkpoint: Callable[[str], Path], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    project = propose(checkpoint("clip")).project
    (tmp_path / "long.txt").write_text("what is it " * 40)
    processed(project.file.processor, project.directory, [tmp_path / "long.txt"])
    (told,) = [line for line in caplog.messages if "--sample" in line]
    assert told.startswith("of the samples (--sample (text)): input 'text'")
    assert "cut to 24 tokens" in told
