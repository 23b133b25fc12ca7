"""Memory of this process and of children: resident set sizes in bytes, None where unknown."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

SELF_STATUS = Path("/proc/self/status")
CHILD = Path(__file__).with_name("measured_child.py")
TAIL_BYTES = 4000


class ProcessUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a child process used.

    exit_code: as the shell's, but negative for the signal that ended it.
    peak_rss_bytes: the largest resident set of the child or of one of its own children; None if
        the system does not say. Values below about 10 MB are the launcher's.
    stdout_tail, stderr_tail: the last 4000 bytes, as UTF-8.
    """

    exit_code: int
    timed_out: bool
    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int | None
    stdout_tail: str
    stderr_tail: str


def peak_rss_bytes() -> int | None:
    """The largest resident set that this process has had, in bytes.

    VmHWM where there is /proc: unlike getrusage, it starts from nothing with each program, and
    does not count what the parent process had (see `measured_child`).
    """
    value = _own_status("VmHWM")
    return value if value is not None else _maxrss_bytes(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )  # fmt: skip


def current_rss_bytes() -> int | None:
    """The resident set of this process now, in bytes; None where there is no /proc."""
    return _own_status("VmRSS")


def parse_status(text: str, key: str) -> int | None:
    """The size called `key` in the text of /proc/PID/status, in bytes; None if not there."""
    match = re.search(rf"^{re.escape(key)}:\s*(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def run_measured(arguments: Sequence[str], *, timeout_s: float) -> ProcessUse:
    """Run a command to its end, or kill it and its process group after `timeout_s`.

    Standard input is empty. Raises ValueError for no arguments or no time, and FileNotFoundError,
    PermissionError or another OSError if the command can't be started. On KeyboardInterrupt the
    command is killed too.
    """
    if not arguments or timeout_s <= 0:
        raise ValueError(f"a command and a time above 0 are needed: {arguments=}, {timeout_s=}")
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        result = _launch(arguments, timeout_s, stdout, stderr)
        return ProcessUse(
            exit_code=result["exit_code"],
            timed_out=result["timed_out"],
            wall_seconds=result["wall_seconds"],
            cpu_seconds=result["cpu_seconds"],
            peak_rss_bytes=_maxrss_bytes(result["max_rss"]),
            stdout_tail=_tail(stdout),
            stderr_tail=_tail(stderr),
        )


def _launch(
    arguments: Sequence[str], timeout_s: float, stdout: IO[bytes], stderr: IO[bytes]
) -> dict[str, Any]:
    """Run `measured_child` and return its report."""
    read_fd, write_fd = os.pipe()
    with os.fdopen(read_fd, "rb") as report:
        try:
            launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", CHILD, str(write_fd), str(timeout_s), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=[write_fd],
                start_new_session=True,  # Ctrl-C reaches us alone, and we end the others
            )
        finally:
            os.close(write_fd)
        try:
            text = report.read()
            launcher.wait()
        except BaseException:
            launcher.send_signal(signal.SIGTERM)
            launcher.wait()
            raise
    return _checked_report(text, arguments, _tail(stderr))


def _checked_report(text: bytes, arguments: Sequence[str], stderr: str) -> dict[str, Any]:
    if not text:
        raise OSError(f"the launcher of {arguments[0]!r} ended without a report: {stderr}")
    result: dict[str, Any] = json.loads(text)
    if "errno" in result:
        raise OSError(result["errno"], os.strerror(result["errno"]), arguments[0])
    return result


def _own_status(key: str) -> int | None:
    try:
        return parse_status(SELF_STATUS.read_text(), key)
    except OSError:
        return None


def _maxrss_bytes(max_rss: int) -> int | None:
    """`ru_maxrss` in bytes; it counts bytes on macOS and kilobytes elsewhere, 0 if unknown."""
    return max_rss * (1 if sys.platform == "darwin" else 1024) or None


def _tail(stream: IO[bytes]) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - TAIL_BYTES))
    return stream.read().decode(errors="replace")
