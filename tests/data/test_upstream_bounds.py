"""A processor file may say anything; what no memory would hold is refused before it is tried."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import transformers

from mmedge.data.upstream import upstream_tensors
from mmedge.data.upstream_bounds import check_picture_sizes
from mmedge.errors import CheckpointError
from mmedge.inspection import inspect_path

Checkpoint = Callable[[str], Path]
ABSURD: list[dict[str, Any]] = [
    {"size": {"shortest_edge": 200_000}},
    {"size": {"longest_edge": 200_000}},
    {"size": {"height": 1_000_000, "width": 1000}},
    {"size": {"max_height": 100_000, "max_width": 100_000}},
    {"size": 200_000},
    {"size": {"shortest_edge": 224}, "crop_size": {"height": 90_000, "width": 90_000}},
    {"size": {"shortest_edge": 224}, "pad_size": {"height": 90_000, "width": 90_000}},
]
USUAL: list[dict[str, Any]] = [
    {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}},
    {"size": {"shortest_edge": 800, "longest_edge": 1333}, "pad_size": None},
    {"size": {"shortest_edge": 800, "longest_edge": 10**9}},
    {"size": 384},
    {"size": None, "crop_size": None},
    {},
]


@pytest.mark.parametrize("fields", ABSURD)
def test_what_no_memory_would_hold(fields: dict[str, Any], tmp_path: Path) -> None:
    part = SimpleNamespace(**fields)
    for processor in (part, SimpleNamespace(image_processor=part)):
        with pytest.raises(CheckpointError, match="no memory") as caught:
            check_picture_sizes(processor, tmp_path)
        assert caught.value.details["where"] == tmp_path


@pytest.mark.parametrize("fields", USUAL)
def test_what_is_usual(fields: dict[str, Any], tmp_path: Path) -> None:
    check_picture_sizes(SimpleNamespace(**fields), tmp_path)


def test_edges_that_are_numbers_of_pixels(tmp_path: Path) -> None:
    """Qwen2-VL's are, and Qwen3-VL's least is 65,536: 256 by 256."""
    kind = transformers.Qwen2VLImageProcessorPil
    check_picture_sizes(kind(size={"shortest_edge": 65_536, "longest_edge": 2**24}), tmp_path)
    with pytest.raises(CheckpointError, match="no memory"):
        check_picture_sizes(kind(size={"shortest_edge": 10**9, "longest_edge": 10**10}), tmp_path)


def test_upstreams_own_classes_are_checked(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Of a directory, before a picture is made; as inspect shows it."""
    directory = Path(shutil.copytree(checkpoint("clip"), tmp_path / "clip"))
    path = directory / "processor_config.json"
    stored = json.loads(path.read_text())
    stored["image_processor"] |= {"size": {"shortest_edge": 200_000}}
    path.write_text(json.dumps(stored))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="no memory"):
        upstream_tensors(directory)
    said = inspect_path(directory)["compile"]
    assert "200000" in said["error"]
    assert said["exit_code"] == CheckpointError.exit_code
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 2**20, "KiB"
