"""One method of an upstream class, and the exact substitute for it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mmedge.errors import ExportError
from mmedge.optional import require


@dataclass(frozen=True)
class Substitute:
    """Stands for `module`.`kind`.`method` while a model is exported.

    source_sha256: of the method's source text, as `inspect.getsource` gives it.
    version: the transformers that it was read in, for the message.
    replacement: the new method, with the old one's arguments.
    """

    module: str
    kind: str
    method: str
    source_sha256: str
    version: str
    replacement: Callable[..., Any]

    def owner_in(self, classes: Iterable[type]) -> type | None:
        """The upstream class, if it is among `classes`."""
        matching = (c for c in classes if (c.__module__, c.__name__) == (self.module, self.kind))
        return next(matching, None)

    @contextmanager
    def active(self, owner: type) -> Iterator[None]:
        """While active, the method is replaced; ExportError if upstream's is another one now."""
        original = vars(owner)[self.method]
        found = source_sha256(original)
        if found != self.source_sha256:
            raise ExportError(
                f"{self.kind}.{self.method} is not the function that mmedge has a substitute for",
                found=f"transformers {require('transformers').__version__}, source {found[:12]}",
                expected=f"transformers {self.version}, source {self.source_sha256[:12]}",
                where=self.module,
                hint=f"pip install transformers=={self.version}",
            )
        setattr(owner, self.method, self.replacement)
        try:
            yield
        finally:
            setattr(owner, self.method, original)


def source_sha256(function: Any) -> str:
    """The hash of a function's source text."""
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
