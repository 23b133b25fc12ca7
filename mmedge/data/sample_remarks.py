"""What the runtime remarks of a sample (a text was cut), told as being about the samples."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RUNTIME = "mmedge.runtime"
logger = logging.getLogger(__name__)
_told: set[tuple[Path, str]] = set()


@contextmanager
def sample_remarks(origin: str, checkpoint: Path) -> Iterator[None]:
    """While active, the runtime's remarks are held back; then each is told, of a checkpoint once.

    A compile reads its samples several times, to look at them, to export and to verify; whoever
    reads that a text was cut should know whose text it was. origin: where the samples come from.
    """
    runtime, heard = logging.getLogger(RUNTIME), _Heard()
    propagate, runtime.propagate = runtime.propagate, False
    runtime.addHandler(heard)
    try:
        yield
    finally:
        runtime.removeHandler(heard)
        runtime.propagate = propagate
        for remark in heard.remarks:
            if (checkpoint, remark) not in _told:
                _told.add((checkpoint, remark))
                logger.warning("of the samples (%s): %s", origin, remark)


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.remarks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.remarks.append(record.getMessage())
