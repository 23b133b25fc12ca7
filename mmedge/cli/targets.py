"""`mmedge targets`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import as_json, emit

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command("targets")
@click.argument("name", required=False)
@as_json
def command(name: str | None, as_json: bool) -> None:
    """List the targets mmedge knows, or show one."""
    from mmedge.targets import list_targets, load_target

    facts: Any = load_target(name) if name else list_targets()
    emit(facts, as_json=as_json, render=_one if name else _all)


def _all(targets: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table

    table = Table("target", "backend", "precisions", "what it is")
    for target in targets:
        precisions = ", ".join(target["precisions"])
        table.add_row(target["name"], target["backend"], precisions, target["title"])
    return table


def _one(target: dict[str, Any]) -> RenderableType:
    from rich.table import Table

    table = Table("key", "value", title=target["name"])
    for key, value in target.items():
        table.add_row(key.replace("_", " "), _cell(value))
    return table


def _cell(value: Any) -> str:
    """Lists on one line, tables with a line for each key."""
    if isinstance(value, Mapping):
        return "\n".join(f"{key} = {_cell(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)
