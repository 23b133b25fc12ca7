"""The exporter's table of translations, made once in a process.

torch's exporter (2.13) makes this table anew for every graph, and parses the source of each of
onnxscript's functions for it. The table is the same each time; only what a caller adds is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

from mmedge.optional import require
from mmedge.replaced import replaced

# By what the caller asked for: the opset.
_made: dict[tuple[tuple[str, Any], ...], Any] = {}


@contextmanager
def registry_made_once() -> Iterator[None]:
    """While active, `ONNXRegistry.from_torchlib` gives a copy of what it gave before."""

    def once(make: Callable[..., Any]) -> Callable[..., Any]:
        def from_torchlib(**asked: Any) -> Any:
            key = tuple(sorted(asked.items()))
            if key not in _made:
                _made[key] = make(**asked)
            return _copied(_made[key])

        return staticmethod(from_torchlib)

    registration = require("torch.onnx._internal.exporter._registration")
    # Another version of torch may not have it: slower, and as good.
    with replaced(registration.ONNXRegistry, "from_torchlib", once):
        yield


def _copied(registry: Any) -> Any:
    """Whose entries can be added to: callers do, and the next one must not see it."""
    own = copy(registry)
    own.functions = {target: list(known) for target, known in registry.functions.items()}
    return own
