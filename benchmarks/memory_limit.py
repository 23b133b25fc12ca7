"""A process that gets no more memory than a limit: a control group of its own (Linux, as root).

Everything counts that the kernel charges, pages of files too; it takes those back where it can,
and kills the process where it can't.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@contextmanager
def memory_limit(size_bytes: int) -> Iterator[Callable[[], None]]:
    """What a new process calls before anything else, to have `size_bytes` of memory at most."""
    old = ROOT / "memory"  # version 1 has a hierarchy for each kind of resource
    parent, name = (old, "memory.limit_in_bytes") if old.is_dir() else (ROOT, "memory.max")
    group = parent / f"mmedge-{os.getpid()}"
    try:
        group.mkdir()
        (group / name).write_text(str(size_bytes))
    except OSError as error:
        raise SystemExit(f"memory cannot be limited here: {error}") from error

    def join() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    try:
        yield join
    finally:
        group.rmdir()
