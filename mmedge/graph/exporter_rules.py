"""Which rewrite rules torch's exporter applies to a graph that it has just made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmedge.optional import require
from mmedge.replaced import replaced

# A rule for two Slices tries every pair of nodes of the graph, with a walk over all nodes for
# each (onnxscript 0.7): of the 188 s in which the exporter turned a 30-layer decoder into ONNX,
# over 80 went into it, for nothing that later passes or ONNX Runtime would miss.
QUADRATIC = frozenset({"SlicesSplit"})


@contextmanager
def linear_rules() -> Iterator[None]:
    """While active, onnxscript's optimizer does without the rules in QUADRATIC."""

    def linear(rules: Any) -> Any:
        return tuple(rule for rule in rules if rule.name not in QUADRATIC)

    # Another version of onnxscript may not have it: slower, and as good.
    with replaced(require("onnxscript.rewriter"), "_DEFAULT_REWRITE_RULES", linear):
        yield
