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
    # As it stands there: of a classmethod, getattr gives what is bound to one class.
    own = vars(owner).get(name)
    setattr(owner, name, replacement(original))
    try:
        yield True
    finally:
        if own is not None:
            setattr(owner, name, own)
        else:
            delattr(owner, name)
