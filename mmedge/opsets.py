"""The versions of the ai.onnx operator set that graphs may be written in."""

from __future__ import annotations

# What the exporter writes, the graph passes read and ONNX Runtime runs.
OPSETS = range(18, 25)


def named(opsets: range) -> str:
    """ "18 to 24"."""
    return f"{opsets.start} to {opsets.stop - 1}"
