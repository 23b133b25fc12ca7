"""One method or function of upstream's, and the exact substitute for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mmedge_export.huggingface.substitutes.upstream import Upstream


@dataclass(frozen=True)
class Substitute:
    """Stands for `module`.`kind`.`method` while a model is exported.

    kind: the class; "" where it is a function of the module.
    source_sha256: of the method's source text, as `inspect.getsource` gives it.
    version: the transformers that it was read in, for the message.
    replacement: the new method, with the old one's arguments.
    calls: functions that the old one calls, and the new one does not: they are known as well.
    """

    module: str
    kind: str
    method: str
    source_sha256: str
    version: str
    replacement: Callable[..., Any]
    calls: tuple[Upstream, ...] = ()

    def owner_in(self, classes: Iterable[type]) -> Any:
        """The upstream class if it is among `classes`, the module if one of its own is; or None."""
        if not self.kind:
            there = any(c.__module__ == self.module for c in classes)
            return sys.modules[self.module] if there else None
        matching = (c for c in classes if (c.__module__, c.__name__) == (self.module, self.kind))
        return next(matching, None)

    @contextmanager
    def active(self, owner: Any) -> Iterator[None]:
        """While active, the method is replaced; ExportError if upstream's is another one now."""
        original = vars(owner)[self.method]
        if original is self.replacement:  # already: whoever replaced it puts it back
            yield
            return
        name = ".".join(filter(None, (self.kind, self.method)))
        upstream = Upstream(self.module, name, self.source_sha256, self.version)
        upstream.check(original)
        for called in self.calls:
            called.check()
        setattr(owner, self.method, self.replacement)
        try:
            yield
        finally:
            setattr(owner, self.method, original)
