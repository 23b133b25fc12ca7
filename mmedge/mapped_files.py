"""Mapped files of this process: which there are, and letting go of pages that are only read.

A page of a mapped file counts as memory of the process from its first reading on. The system can
take a clean one back whenever it needs to, and does so late; between two stages we hand them all
back, so that a peak is what one stage needs and not what all stages have read.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SMAPS = Path("/proc/self/smaps")
# Smaller mappings (fonts, locale archives) are not worth a call.
LEAST_BYTES = 1 << 20
MADV_DONTNEED = 4  # Linux, all architectures but alpha; include/uapi/asm-generic/mman-common.h
_FIELDS = ("Rss", "Anonymous")
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ([rwxps-]{4}) \S+ \S+ (\d+) +(.*)")


@dataclass(frozen=True)
class Mapping:
    """One mapped range. `anonymous_bytes`: pages that this process has changed, for itself."""

    start: int
    size_bytes: int
    permissions: str
    path: str
    resident_bytes: int
    anonymous_bytes: int

    @property
    def only_read(self) -> bool:
        """Whether the file has everything that is in these pages, and they are no code."""
        return self.anonymous_bytes == 0 and "x" not in self.permissions


def mapped_files(smaps: Path = SMAPS) -> tuple[Mapping, ...]:
    """Every mapped file of this process; none where the system does not tell."""
    try:
        return tuple(_mappings(smaps.read_text(errors="replace")))
    except OSError:
        return ()


def release_clean_pages(*, at_least: int = LEAST_BYTES) -> int:
    """Let go of pages that were only read; the bytes that were resident.

    Reading them again costs a page fault each, and no disk while the system still caches them.
    To be called while no other thread writes to a mapped file.
    """
    found = [item for item in mapped_files() if item.only_read and item.resident_bytes >= at_least]
    if not found:
        return 0
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    released = [m for m in found if madvise(m.start, m.size_bytes, MADV_DONTNEED) == 0]
    return sum(item.resident_bytes for item in released)


def _mappings(text: str) -> Iterator[Mapping]:
    head: re.Match[str] | None = None
    sizes: dict[str, int] = {}
    for line in [*text.splitlines(), "0-0 ---- 0 0:0 0 "]:
        if line[:1].isupper():  # a field of the last head; there are thousands of lines
            key, _, value = line.partition(":")
            if key in _FIELDS:
                sizes[key] = int(value.removesuffix(" kB")) * 1024
        elif found := _HEAD.fullmatch(line):
            if head is not None and int(head[4]):  # inode 0 is memory without a file
                yield _mapping(head, sizes)
            head, sizes = found, {}


def _mapping(head: re.Match[str], sizes: dict[str, int]) -> Mapping:
    start, end = int(head[1], 16), int(head[2], 16)
    return Mapping(
        start=start,
        size_bytes=end - start,
        permissions=head[3],
        path=head[5],
        resident_bytes=sizes.get("Rss", 0),
        anonymous_bytes=sizes.get("Anonymous", end - start),
    )
