"""Giving freed memory back to the operating system, which allocators do when they see fit."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collect cycles (a traced graph is full of them) and return free pages; on Linux only.

    glibc keeps what was freed for the next allocation of the same thread and size; between two
    stages of a compile that was a quarter of the resident set.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
