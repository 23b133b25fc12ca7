"""`mmedge profile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import (
    THREADS,
    FiniteRange,
    as_json,
    emit,
    engine,
    progress,
    quiet,
    size,
    warning,
)

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command("profile")
@click.argument("bundle", type=click.Path())
@click.option("--against", type=click.Path(), help="The model project: PyTorch eager, alternating.")
@click.option(
    "--seconds",
    type=FiniteRange(0.01, 86400),
    default=10.0,
    show_default=True,
    help="How long to measure.",
)
@click.option("--threads", type=THREADS, help="Threads for the engine and for PyTorch.")
@engine
@as_json
@quiet
def command(
    bundle: str,
    against: str | None,
    seconds: float,
    threads: int | None,
    engine: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure BUNDLE on this machine: latency, cold start, memory."""
    from mmedge.bundles import profile_bundle

    with progress(quiet=quiet) as show:
        facts = profile_bundle(
            bundle,
            against=against,
            seconds=seconds,
            threads=threads,
            engine=engine,
            progress=show,
        )
    emit(facts, as_json=as_json, render=_table)


def _table(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    table = Table(title=f"{facts['name']} at batch {facts['batch']}")
    headings = ("what", "p50 (95% interval)", "p90", "p99", "max", "calls")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "what" else "right")
    whole = facts["end_to_end"]["summaries"]
    rows = [("end to end", whole["engine"])]
    rows += [("  PyTorch eager", whole["pytorch"])] if "pytorch" in whole else []
    rows += [(name, part["summaries"]["engine"]) for name, part in facts["components"].items()]
    for name, summary in rows:
        table.add_row(name, *_cells(summary))
    return Group(table, *_sentences(facts))


def _cells(summary: dict[str, Any]) -> tuple[str, ...]:
    interval = summary["p50_interval_ms"]
    span = f" ({interval['low']:.3f} to {interval['high']:.3f})" if interval else ""
    tail = [f"{summary[key]:.3f}" for key in ("p90_ms", "p99_ms", "max_ms")]
    return (f"{summary['p50_ms']:.3f} ms{span}", *tail, str(summary["count"]))


def _sentences(facts: dict[str, Any]) -> list[RenderableType]:
    from mmedge.runtime.engines_taken import sentences

    lines: list[RenderableType] = []
    speedup = facts["end_to_end"]["speedup"]
    if speedup:
        span = f"({speedup['low']:.2f} to {speedup['high']:.2f}, 95%)"
        value = "speed over" if facts["dirty"] else f"{speedup['value']:.2f}x"
        lines.append(f"{value} PyTorch eager {span}")
    cold = sorted(facts["cold_start"], key=lambda start: start["load_ms"])[
        len(facts["cold_start"]) // 2
    ]
    peak = cold["peak_rss_bytes"]
    memory = "not available" if peak is None else size(peak)
    lines.append(
        f"cold: import {cold['import_ms']:.0f} ms, load {cold['load_ms']:.0f} ms, "
        f"first run {cold['first_run_ms']:.1f} ms; peak memory of that process {memory}"
    )
    lines += [warning(f"disturbed: {reason}") for reason in facts["dirty"]]
    return lines + [warning(line) for line in sentences(facts)]
