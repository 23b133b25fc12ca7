"""Every planted bug is caught: what proves the kernels would notice if they were wrong."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
from battery import INSTANCE, run_battery
from emulator import (
    SOURCES,
    Emulator,
    build_emulator,
    compile_object,
    link_emulator,
    once,
    write,
)

from mmedge.strict import read_toml

MUTATIONS = read_toml(Path(__file__).with_name("mutations.toml"))["mutation"]
# Compiling is most of a mutant's time.
OPTIMIZE = "-O0"
# A mutant that never ends is caught too; the battery of a right kernel takes about a second.
LIMIT_S = 60
# The emulation is proved by tests of its own, and precompiled: it is not copied.
LEFT_RIGHT = ("emulation*", "device.cuh", "plugin")
IN_THE_INTERFACE = {"attention.cu", "plan.h", "checks.h"}
# Forked, as a mutant may crash, or write where it should not.
fork = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def right(shared_directory: Path) -> Path:
    """Where the kernels' objects without any bug are."""
    directory = shared_directory / "right"
    build_emulator(directory, INSTANCE, optimize=OPTIMIZE)
    return directory


def test_the_battery_passes_without_a_bug(right: Path) -> None:
    run_battery(build_emulator(right, INSTANCE, optimize=OPTIMIZE))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[m["about"] for m in MUTATIONS])
def test_a_planted_bug_is_caught(mutation: dict[str, Any], right: Path, tmp_path: Path) -> None:
    library = compile_mutant(mutation, right, tmp_path)
    worker = fork.Process(target=run_battery_quietly, args=(library,))
    worker.start()
    worker.join(LIMIT_S)
    if worker.is_alive():
        worker.kill()
        worker.join()
    assert worker.exitcode != 0, f"survived: {mutation['about']} ({mutation['file']})"


def test_a_bug_that_is_not_there_is_named() -> None:
    mutation = {"file": "forward.cuh", "find": "no such line", "replace": "", "about": "none"}
    with pytest.raises(AssertionError, match="0 times"):
        plant(mutation, "some source")


def run_battery_quietly(library: Emulator) -> None:
    try:
        run_battery(library)
    except Exception:
        # Caught. The traceback of each of them would fill the log.
        raise SystemExit(1) from None


def plant(mutation: dict[str, Any], source: str) -> str:
    found, nth = source.count(mutation["find"]), mutation.get("nth")
    assert found == 1 or (nth and nth <= found), f"{mutation['find']!r} is there {found} times"
    parts = source.split(mutation["find"])
    at = nth or 1
    before, after = (mutation["find"].join(half) for half in (parts[:at], parts[at:]))
    return before + str(mutation["replace"]) + after


def compile_mutant(mutation: dict[str, Any], right: Path, directory: Path) -> Emulator:
    """Only the half of the library that the bug is in; the other is the right one's."""
    sources = directory / "sources"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns(*LEFT_RIGHT))
    file = sources / mutation["file"]
    write(file, plant(mutation, file.read_text(encoding="utf-8")))
    interface, kernels = right / "attention.o", right / f"{INSTANCE.name}.o"
    if mutation["file"] in IN_THE_INTERFACE:
        interface = compile_object(
            sources / "attention.cu", directory / "a.o", headers=right, sources=sources,
            optimize=OPTIMIZE,
        )  # fmt: skip
    else:
        generated = once(sources / "mutant.cpp", lambda made: write(made, INSTANCE.source()))
        kernels = compile_object(
            generated, directory / "k.o", headers=right, sources=sources, optimize=OPTIMIZE
        )
    return link_emulator(directory / "mutant.so", interface, kernels)
