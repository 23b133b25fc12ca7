"""`mmedge build`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import as_json, emit, progress, quiet, size, warning
from mmedge.cli.shape_options import builder_options

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command("build")
@click.argument("bundle", type=click.Path())
@click.option("--target", help="See `mmedge targets`; by default what the bundle is for.")
@builder_options
@click.option("--tf32", is_flag=True, help="Products of float32 matrices may be rounded to tf32.")
@as_json
@quiet
def command(
    bundle: str, target: str | None, tf32: bool, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Build the engines of a target from the graphs in BUNDLE, on the device or anywhere.

    Needs neither PyTorch nor a network. What is built already is kept, so that a build that was
    stopped goes on.
    """
    from mmedge.building import build_bundle
    from mmedge.engine_plan import BuildOptions

    given = {key: value for key, value in options.items() if value is not None}
    asked = BuildOptions(tf32=tf32, **given) if given or tf32 else None
    with progress(quiet=quiet) as show:
        facts = build_bundle(bundle, target=target, options=asked, progress=show)
    emit(facts, as_json=as_json, render=_table)


def _table(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    table = Table(title=f"engines of {facts['target']}")
    for heading in ("component", "engine", "precision", "size", "built with"):
        table.add_column(heading, justify="right" if heading == "size" else "left")
    for row in facts["engines"]:
        stamps = ", ".join(f"{name} {value}" for name, value in row["built_with"].items())
        stamps += "; was there" if row["was_there"] else ""
        size_cell = size(row["size_bytes"])
        table.add_row(row["component"], row["file"], row["precision"], size_cell, stamps)
    remarks = [warning(remark) for remark in facts["remarks"]]
    return Group(table, *remarks, f"on the target: mmedge verify {facts['bundle']}")
