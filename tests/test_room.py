"""The estimate: told first, checked before the model is loaded, and beside what was used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmedge import pipeline, room
from mmedge.checkpoint.demand import Demand
from mmedge.errors import OutputError, ResourceError
from mmedge.machine_limits import Available
from mmedge.pipeline import compile_project
from mmedge.room import Room

GB = 10**9
NEED = Demand(held=3 * GB, mapped=2 * GB, cache=6 * GB, bundle=2 * GB)
WriteProject = Callable[..., Path]


def of(memory: int | None, tmp_path: Path, need: Demand = NEED) -> Room:
    there = None if memory is None else Available(memory, "the machine")
    return Room(need, there, ((tmp_path, need.cache),))


def test_what_can_be_taken_back_is_not_required(tmp_path: Path) -> None:
    of(3 * GB, tmp_path).check()
    with pytest.raises(ResourceError) as caught:
        of(3 * GB - 1, tmp_path).check()
    assert caught.value.exit_code == 12
    assert "3.0 GB that the machine has left" in str(caught.value)
    assert "--ignore-estimate" in str(caught.value)


def test_unknown_memory_stops_nobody(tmp_path: Path) -> None:
    of(None, tmp_path).check()
    assert "available: ?" in of(None, tmp_path).sentence()


def test_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"not enough disk(.|\n)*1000000\.0 GB(.|\n)*cache"):
        of(9 * GB, tmp_path, Demand(held=1, mapped=1, cache=10**15, bundle=1)).check()


def test_the_bundle_counts_on_a_disk_of_its_own(tmp_path: Path) -> None:
    together = Room.of(NEED, cache=tmp_path / "cache", output=tmp_path / "out")
    apart = Room.of(NEED, cache=tmp_path / "cache", output=Path("/proc/out"))
    assert together.to_dict()["expected_disk_bytes"] == 6 * GB
    assert apart.to_dict()["expected_disk_bytes"] == 8 * GB


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "available_memory", lambda: Available(100, "its control group"))


def compiled(project: Path, directory: Path, **settings: Any) -> tuple[Any, list[str]]:
    lines: list[str] = []
    done = compile_project(
        project,
        output=directory / "out.mmedge",
        cache=directory / "cache",
        threads=1,
        measure_seconds=0,
        progress=lines.append,
        **settings,
    )
    return done, lines


@pytest.mark.usefixtures("small_machine")
def test_a_machine_too_small_is_told_before_the_model_is_made(
    tmp_path: Path, write_project: WriteProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model was made")

    project = write_project(tmp_path / "project")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "load_model", refuse)
        with pytest.raises(ResourceError, match="its control group"):
            compiled(project, tmp_path)
    assert not (tmp_path / "out.mmedge").exists()
    done, lines = compiled(project, tmp_path, ignore_estimate=True)
    assert lines[0].startswith("expecting 0.7 GB of memory")
    assert done.report["resources"]["available_bytes"] == 100
    # From the cache it takes nothing, and is not refused.
    assert compiled(project, tmp_path)[0].bundle.is_dir()


def test_the_estimate_is_beside_what_was_used(
    tmp_path: Path, run_mmedge: Any, write_project: WriteProject
) -> None:
    project = write_project(tmp_path / "project")
    output = tmp_path / "out.mmedge"
    done = run_mmedge("compile", project, "-o", output, "--measure-seconds", 0, "--no-cache")
    assert done.returncode == 0, done.stderr
    assert "expecting 0.7 GB of memory" in done.stderr.splitlines()[0]
    assert "largest memory" in done.stdout
    assert "expected 671" in done.stdout
