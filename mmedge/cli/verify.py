"""`mmedge verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import THREADS, as_json, emit, engine, progress, quiet, warning

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command("verify")
@click.argument("bundle", type=click.Path())
@click.option("--against", type=click.Path(), help="The model project, to compare with PyTorch.")
@click.option("--threads", type=THREADS, help="Threads for the engine.")
@engine
@as_json
@quiet
def command(
    bundle: str,
    against: str | None,
    threads: int | None,
    engine: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check BUNDLE: every file's hash, and its golden inputs on this machine.

    With --against PROJECT also the whole evaluation set and the task metric, against PyTorch.
    """
    from mmedge.bundles import verify_bundle

    with progress(quiet=quiet) as show:
        facts = verify_bundle(
            bundle, against=against, threads=threads, engine=engine, progress=show
        )
    emit(facts, as_json=as_json, render=_table)


def _table(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    from mmedge.runtime.engines_taken import sentences

    kinds = ", ".join(dict.fromkeys(facts["engines"].values()))
    equal = f"{facts['examples']} golden examples are equal on {kinds}"
    table = Table(title=f"{facts['bundle']}: {equal}")
    for heading in ("output", "largest difference", "relative", "cosine", "allowed"):
        table.add_column(heading, justify="left" if heading == "output" else "right")
    rows = [("", facts["outputs"])]
    rows += [("all samples: ", facts["against"]["end_to_end"])] if "against" in facts else []
    for label, outputs in rows:
        for name, found in outputs.items():
            cosine = "-" if found["cosine"] is None else f"{found['cosine']:.7f}"
            allowed = f"{facts['tolerance'][name]:.0e}"
            moved = (f"{found['max_abs']:.2e}", f"{found['relative']:.2e}")
            table.add_row(label + name, *moved, cosine, allowed)
    task = facts.get("against", {}).get("task")
    lines = [f"{task['metric']}: {task['before']:.4f} -> {task['after']:.4f}"] if task else []
    return Group(table, *lines, *map(warning, sentences(facts)))
