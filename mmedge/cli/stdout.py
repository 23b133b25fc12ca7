"""Standard output that cannot be written (a full disk) is told apart from every other OSError."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click


class StdoutError(OSError):
    """Standard output took nothing more."""


class _Watched:
    """A text stream, but for the errors of `write` and `flush`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As the stream does; StdoutError where it can't."""
        with _renamed():
            return self._stream.write(text)

    def flush(self) -> None:
        """As the stream does; StdoutError where it can't."""
        with _renamed():
            self._stream.flush()


@contextmanager
def _renamed() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # click and rich know it: whoever reads has stopped
    except OSError as error:
        raise StdoutError(error.errno, error.strerror) from error


@contextmanager
def watched_stdout() -> Iterator[None]:
    """While active, what can't be written to stdout raises StdoutError; at the end all is flushed.

    After StdoutError or a broken pipe stdout leads nowhere: the interpreter flushes it at its
    exit, and would fail again.
    """
    stdout = sys.stdout
    if stdout is None:  # closed by whoever started the process: prints go nowhere
        yield
        return
    watched = _Watched(stdout)
    sys.stdout = watched
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if isinstance(error, StdoutError) or error.errno == errno.EPIPE:
            _lead_nowhere(stdout)
        raise
    finally:
        # After a broken pipe click has put a stream there that does not fail at the exit.
        if sys.stdout is watched:
            sys.stdout = stdout


def _lead_nowhere(stdout: TextIO) -> None:
    with suppress(OSError), open(os.devnull, "wb") as devnull:  # noqa: PTH123
        os.dup2(devnull.fileno(), stdout.fileno())


def told(error: StdoutError) -> int:
    """The exit code for `error`, after it was told on stderr."""
    from mmedge.errors import OutputError

    click.echo(f"error: stdout cannot be written: {error.strerror}", err=True)
    return OutputError.exit_code
