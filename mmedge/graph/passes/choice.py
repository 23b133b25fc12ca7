"""Which passes a graph goes through, by what the engines of its target take."""

from __future__ import annotations

from collections.abc import Sequence

from mmedge.capabilities import Table
from mmedge.graph.passes.base import GraphPass


def chosen(
    passes: Sequence[GraphPass], table: Table | None, more: Sequence[GraphPass] = ()
) -> tuple[GraphPass, ...]:
    """`passes` without those that the table leaves out, and those of `more` that it adds.

    table: of the target's engines; None where they take whatever ONNX Runtime takes.
    """
    rows = () if table is None else table.passes
    left_out = {name for row in rows for name in row.leave_out}
    added = {name for row in rows for name in row.add}
    return (
        *(item for item in passes if type(item).__name__ not in left_out),
        *(item for item in more if type(item).__name__ in added),
    )
