"""An attribute of somebody else's object, replaced for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, name: str, replacement: Callable[[Any], Any]) -> Iterator[bool]:
    """While active, `owner.name` is `replacement(the original)`.

    Yields False, with nothing replaced, where `owner` has no such attribute: another version of
    a library, to which the replacement does not apply.
    """
    original = getattr(owner, name, None)
    if original is None:
        yield False
        return
    own = name in vars(owner)
    setattr(owner, name, replacement(original))
    try:
        yield True
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)
