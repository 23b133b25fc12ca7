"""Commands that run side by side, and all end when one fails or somebody interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from mmedge.errors import BuildError

MOST_LINES = 12
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Command:
    """A program with its arguments; label: what is told of it. directory: where it runs."""

    label: str
    arguments: tuple[str, ...]
    directory: Path | None = None


def run_together(
    commands: Sequence[Command],
    done: Callable[[int, str], None] = lambda _index, _said: None,
    *,
    workers: int | None = None,
) -> None:
    """Run all, as many at a time as there are cores for this process.

    done: called with the index of a command that succeeded, and with what it printed.
    Raises BuildError with the first lines of what a command complained of. Whatever is raised
    here, in `done` too, no command runs on.
    """
    limit = workers or len(os.sched_getaffinity(0))
    waiting, running = list(enumerate(commands)), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                running.append(_start(*waiting.pop(0)))
            finished = [one for one in running if one.process.poll() is not None]
            for one in finished:
                running.remove(one)
                done(one.index, _succeeded(one))
            if not finished:
                time.sleep(POLL_SECONDS)
    finally:
        for one in running:
            _end(one)


@dataclass(frozen=True)
class _Running:
    index: int
    command: Command
    process: subprocess.Popen[bytes]
    said: IO[bytes]


def _start(index: int, command: Command) -> _Running:
    said = TemporaryFile()  # noqa: SIM115 - open until the command has ended
    try:
        process = subprocess.Popen(
            command.arguments,
            cwd=command.directory,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # nvcc starts others: they are ended with it
        )
    except OSError as error:
        said.close()
        raise BuildError(f"{command.arguments[0]} cannot be run", found=error.strerror) from error
    return _Running(index, command, process, said)


def _succeeded(one: _Running) -> str:
    """What the command printed; BuildError where it failed."""
    with one.said as stream:
        stream.seek(0)
        said = stream.read().decode(errors="replace")
    if one.process.returncode == 0:
        return said
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines
    raise BuildError(
        f"{Path(one.command.arguments[0]).name} failed on {one.command.label}",
        found="\n".join(errors[:MOST_LINES]) or f"exit code {one.process.returncode}",
        where=one.command.directory,
    )


def _end(one: _Running) -> None:
    with suppress(ProcessLookupError):
        os.killpg(one.process.pid, signal.SIGKILL)
    one.process.wait()
    one.said.close()
