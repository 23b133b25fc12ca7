"""`mmedge cache`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import as_json, emit, size

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command("cache")
@click.option("--clear", is_flag=True, help="Remove everything, or what --older-than says.")
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Only entries older than this.",
)
@click.option("--directory", type=click.Path(path_type=Path), help="Another cache directory.")
@as_json
def command(clear: bool, older_than: float | None, directory: Path | None, as_json: bool) -> None:
    """List the finished stages that are kept, or remove them."""
    from mmedge.cache import StageCache, default_cache_directory

    if older_than is not None and not clear:
        raise click.UsageError("--older-than goes with --clear")
    store = StageCache(directory or default_cache_directory())
    facts: dict[str, Any] = {"directory": str(store.directory)}
    if clear:
        facts["removed"], facts["freed_bytes"] = store.clear(older_than_days=older_than or 0.0)
    facts["entries"] = store.entries()
    emit(facts, as_json=as_json, render=_table)


def _table(facts: dict[str, Any]) -> RenderableType:
    from datetime import datetime

    from rich.console import Group
    from rich.table import Table

    table = Table("model", "stage", "size", "finished", title=facts["directory"])
    for entry in facts["entries"]:
        when = datetime.fromtimestamp(entry["modified"]).isoformat(" ", "minutes")
        table.add_row(entry["model"], entry["stage"], size(entry["size_bytes"]), when)
    total = sum(entry["size_bytes"] for entry in facts["entries"])
    lines = [f"{len(facts['entries'])} entries, {size(total)}"]
    if "removed" in facts:
        lines.insert(0, f"removed {facts['removed']}, freed {size(facts['freed_bytes'])}")
    return Group(table, *lines)
