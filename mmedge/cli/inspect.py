"""`mmedge inspect`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import as_json, emit, size
from mmedge.cli.inspect_engine import attention_view, engine_line, engine_view, tensor

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN_TENSORS = 40
# Of each modality, what a processor reads.
READS = {"image": "an image file", "audio": "a sound file", "text": "a text"}


@click.command("inspect")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--sample",
    "samples",
    multiple=True,
    type=click.Path(),
    help="What a checkpoint directory would be compiled with; see `mmedge compile`.",
)
@click.option("--attention", is_flag=True, help="Of a bundle: how each attention was treated.")
@click.option("--debug", is_flag=True, help="Also say why other recipes do not take it.")
@as_json
def command(
    path: Path, samples: tuple[str, ...], attention: bool, debug: bool, as_json: bool
) -> None:
    """Show what PATH holds: a bundle, an engine, a model project, or a checkpoint.

    Where `mmedge compile` would refuse a checkpoint, the exit code is the one it would have.
    """
    from mmedge.inspection import inspect_path

    views: dict[str, Callable[[dict[str, Any]], RenderableType]]
    views = {
        "bundle": attention_view if attention else _bundle,
        "engine": engine_view,
        "project": _project,
        "checkpoint": partial(_checkpoint, debug),
    }
    facts = inspect_path(path, samples=samples, attention=attention)
    emit(facts, as_json=as_json, render=lambda facts: views[facts["kind"]](facts))
    if code := facts.get("compile", {}).get("exit_code"):
        raise click.exceptions.Exit(code)


def _bundle(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    wiring = facts["wiring"]
    table = Table("component", "modality", "inputs", "outputs", "engines, best first")
    for component in wiring["components"]:
        sources = component["bindings"]
        inputs = [
            f"{tensor(spec)}\n  from {sources.get(spec['name'], 'the decoding loop')}"
            for spec in component["inputs"]
        ]
        outputs = [tensor(spec) for spec in component["outputs"]]
        engines = [engine_line(engine) for engine in facts["engines"][component["name"]]]
        cells = ("\n".join(lines) for lines in (inputs, outputs, engines))
        table.add_row(component["name"], component["modality"], *cells)
    lines = [
        f"bundle {facts['name']} for {facts['target']}, {size(facts['size_bytes'])}, "
        f"compiled {facts['created']} by mmedge {facts['versions'].get('mmedge', '?')}",
        f"checkpoint sha256 {facts['checkpoint_sha256']}",
        *_inputs(wiring["inputs"], facts["raw_inputs"]),
        *(f"output {name}  from {source}" for name, source in wiring["outputs"].items()),
    ]
    return Group(*lines, table)


def _project(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group

    data = {key: value or "none" for key, value in facts["data"].items()}
    lines = [
        f"project {facts['name']} in {facts['path']}",
        f"recipe {facts['recipe']}",
        *_inputs(facts["inputs"], facts["raw_inputs"]),
        *(f"axis {name}: {a['min']} to {a['max']}" for name, a in facts["axes"].items()),
        *(f"{key}: {value}" for key, value in data.items()),
    ]
    parts: list[RenderableType] = list(lines)
    if facts["checkpoint"]:
        parts.append(_checkpoint(False, facts["checkpoint"]))
    return Group(*parts)


def _checkpoint(debug: bool, facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    tensors = facts["tensors"]
    table = Table("tensor", "dtype", "shape")
    for name, found in list(tensors.items())[:SHOWN_TENSORS]:
        table.add_row(name, found["dtype"], str(found["shape"]))
    lines = [f"checkpoint: {facts['format']}, {size(facts['size_bytes'])}, {len(tensors)} tensors"]
    lines += facts.get("notes", [])
    lines += [f"unpickling it would import {name}" for name in facts.get("objects", [])]
    more = len(tensors) - SHOWN_TENSORS
    tail = [f"... and {more} more tensors (--json shows all)"] if more > 0 else []
    return Group(*lines, *_decisions(facts.get("compile"), debug), table, *tail)


def _decisions(proposal: dict[str, Any] | None, debug: bool) -> list[str]:
    """What `mmedge compile` would do with the checkpoint, and why."""
    if proposal is None:
        return []
    if "error" in proposal:
        return [f"mmedge compile would refuse it: {proposal['error']}"]
    raw, made = proposal["raw_inputs"], ", ".join(proposal["components"])
    lines = [
        f"{proposal['architecture']}: {proposal['family']} (recipe {proposal['recipe']})",
        f"components: {made or 'told by the recipe once the model is loaded'}",
        *(f"  {reason}" for reason in proposal["reasons"]),
        f"raw inputs: {', '.join(raw) or 'none'}"
        + (f" (through {proposal['processor']})" if raw else ""),
        *(f"  {note}" for note in proposal["processor_notes"]),
    ]
    if proposal["processor_reason"]:
        lines.append(f"  {proposal['processor_reason']}")
    lines += _inputs(proposal["inputs"], raw)
    lines += [f"axis {n}: {a['min']} to {a['max']}" for n, a in proposal["axes"].items()]
    refused = proposal["refused"].items() if debug else ()
    return lines + [f"not {recipe}: {reason}" for recipe, reason in refused]


def _inputs(items: list[dict[str, Any]], raw: dict[str, Any]) -> list[str]:
    """What may be given: files and texts first, then the tensors of the model."""
    reads = [
        f"takes {name}: {READS.get(item['modality'], 'values')}"
        + (f", made into {', '.join(item['tensors'])}" if item["tensors"] else "")
        for name, item in raw.items()
    ]
    sources = {tensor: name for name, item in raw.items() for tensor in item["tensors"]}
    return reads + [_input_line(item, sources.get(item["spec"]["name"])) for item in items]


def _input_line(item: dict[str, Any], source: str | None) -> str:
    """source: the raw input that the tensor is made from, if there is one."""
    line = f"input {tensor(item['spec'])}  {item['modality']}"
    line += ", may be absent" if item.get("optional") else ""
    line += f", tells whether {item['indicates']} is there" if item.get("indicates") else ""
    kind = item.get("preprocess", {}).get("kind")
    if kind:
        return f"{line}, preprocessed as {kind}"
    return line + (f", made from {source}" if source else ", takes the tensor itself")
