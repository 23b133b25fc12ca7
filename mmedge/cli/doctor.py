"""`mmedge doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import as_json, emit, warning

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command("doctor")
@as_json
def command(as_json: bool) -> None:
    """Say what is installed, and what each missing part would enable."""
    from mmedge.doctor import examine

    emit(examine(), as_json=as_json, render=_table)


def _table(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    table = Table("library", "version", "serves", title=f"mmedge {facts['mmedge']}")
    for part in facts["parts"]:
        missing = warning(f"missing: pip install '{part['install']}'")
        version = part["version"] or missing
        table.add_row(part["library"], version, part["enables"])
    lines = [f"python {facts['python']} on {facts['platform']}"]
    lines.append(f"ONNX Runtime providers: {', '.join(facts['providers']) or 'none'}")
    lines.append(f"recipes: {', '.join(facts['recipes'])}")
    lines.append(f"targets: {', '.join(facts['targets'])}")
    broken = [
        warning(f"target {name} cannot be used: {error['message']} (mmedge targets {name})")
        for name, error in facts["broken_targets"].items()
    ]
    return Group(table, *lines, *broken)
