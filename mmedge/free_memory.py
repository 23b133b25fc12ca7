"""Giving memory that is not needed back to the operating system, which allocators do late."""

from __future__ import annotations

import ctypes
import gc
import sys

from mmedge.mapped_files import release_clean_pages


def give_back() -> None:
    """Collect cycles (a traced graph is full of them), then as `give_back_pages`.

    A collection looks at every object of every library that is loaded, which takes as long as
    running a small model several times: for the end of a stage.
    """
    gc.collect()
    give_back_pages()


def give_back_pages() -> None:
    """Return pages that are free or only read.

    glibc keeps what was freed for the next allocation; kept from one stage of a compile to the
    next, it would count in the peak of both.
    """
    release_clean_pages()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
