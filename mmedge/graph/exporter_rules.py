"""Which rewrite rules torch's exporter applies to a graph that it has just made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmedge.optional import require

# A rule for two Slices tries every pair of nodes of the graph, with a walk over all nodes for
# each (onnxscript 0.7): of the 188 s in which the exporter turned a 30-layer decoder into ONNX,
# over 80 went into it, for nothing that later passes or ONNX Runtime would miss.
QUADRATIC = frozenset({"SlicesSplit"})


@contextmanager
def linear_rules() -> Iterator[None]:
    """While active, onnxscript's optimizer does without the rules in QUADRATIC."""
    rewriter: Any = require("onnxscript.rewriter")
    rules = getattr(rewriter, "_DEFAULT_REWRITE_RULES", None)
    if rules is None:  # another version of onnxscript: slower, and as good
        yield
        return
    rewriter._DEFAULT_REWRITE_RULES = tuple(rule for rule in rules if rule.name not in QUADRATIC)
    try:
        yield
    finally:
        rewriter._DEFAULT_REWRITE_RULES = rules
