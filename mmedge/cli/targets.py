"""`mmedge targets`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import as_json, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mmedge.targets import Target


@click.command("targets")
@click.argument("name", required=False)
@as_json
def command(name: str | None, as_json: bool) -> None:
    """List the targets mmedge knows, or show one.

    A target whose file is wrong is named on stderr, and the others are listed all the same.
    """
    from mmedge.targets import broken_targets, list_targets, load_target

    facts: Any = _facts(load_target(name), name) if name else [_facts(t) for t in list_targets()]
    emit(facts, as_json=as_json, render=_one if name else _all)
    for broken, error in broken_targets().items() if not name else ():
        click.echo(f"· target {broken} cannot be used: {error}", err=True)


def _facts(target: Target, name: str | None = None) -> dict[str, Any]:
    """The target and where it is written; name: as it was asked for, where that may be a path."""
    import msgspec

    from mmedge.targets import target_file

    file = target_file(name or target.name)
    written = {"path": str(file.path), "ships": file.ships}
    written |= {"replaces": str(file.replaces)} if file.replaces else {}
    return {**msgspec.to_builtins(target), "file": written}


def _all(targets: list[dict[str, Any]]) -> RenderableType:
    from rich.table import Table

    table = Table("target", "backend", "precisions", "what it is")
    for target in targets:
        precisions = ", ".join(target["precisions"])
        file = target["file"]
        what = target["title"] if file["ships"] else f"{target['title']}\n{file['path']}"
        what += "\nin place of the one that ships" if file.get("replaces") else ""
        table.add_row(target["name"], target["backend"], precisions, what)
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
    return "none" if value is None else str(value)
