"""An upstream function that code of ours stands for, known by the hash of its source."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass
from functools import reduce
from typing import Any

from mmedge.errors import ExportError
from mmedge.optional import require


@dataclass(frozen=True)
class Upstream:
    """`name` in `module`: a function, or a method as "Class.method".

    source_sha256: of its source text, as `inspect.getsource` gives it.
    version: the transformers that it was read in, for the message.
    """

    module: str
    name: str
    source_sha256: str
    version: str

    def function(self) -> Any:
        """The function as it is installed; None where there is none of the name."""
        return reduce(lambda at, name: getattr(at, name, None), self.name.split("."), self._at())

    def check(self, function: Any = None) -> None:
        """Raise ExportError unless the function is the one that was read."""
        found = source_sha256(self.function() if function is None else function)
        if found == self.source_sha256:
            return
        raise ExportError(
            f"{self.name} is not the function that mmedge has a substitute for",
            found=f"transformers {require('transformers').__version__}, source {found[:12]}",
            expected=f"transformers {self.version}, source {self.source_sha256[:12]}",
            where=self.module,
            hint=f"pip install transformers=={self.version}",
        )

    def _at(self) -> Any:
        return require(self.module)


def source_sha256(function: Any) -> str:
    """The hash of a function's source text; "none" where there is no function."""
    if function is None:
        return "none"
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
