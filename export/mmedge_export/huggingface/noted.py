"""What a method of a module returns while something else runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def noted(owner: nn.Module, method: str) -> Iterator[list[Any]]:
    """While active, whatever `method` of this module returns goes into the list."""
    own = getattr(owner, method)
    found: list[Any] = []

    def note(*args: Any, **kwargs: Any) -> Any:
        result = own(*args, **kwargs)
        found.append(result)
        return result

    shadowed = owner.__dict__.get(method)
    owner.__dict__[method] = note
    try:
        yield found
    finally:
        del owner.__dict__[method]
        if shadowed is not None:
            owner.__dict__[method] = shadowed
