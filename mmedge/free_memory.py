"""Giving memory that is not needed back to the operating system, which allocators do late."""

from __future__ import annotations

import ctypes
import gc
import sys

from mmedge.mapped_files import release_clean_pages


def give_back() -> None:
    """Collect cycles (a traced graph is full of them) and return pages that are free or only read.

    glibc keeps what was freed for the next allocation; kept from one stage of a compile to the
    next, it would count in the peak of both.
    """
    release_clean_pages()
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
