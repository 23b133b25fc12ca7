"""`mmedge inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import as_json, emit, size

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN_TENSORS = 40


@click.command("inspect")
@click.argument("path", type=click.Path(path_type=Path))
@as_json
def command(path: Path, as_json: bool) -> None:
    """Show what PATH holds: a bundle, a model project, or a checkpoint."""
    from mmedge.inspection import inspect_path

    views = {"bundle": _bundle, "project": _project, "checkpoint": _checkpoint}
    emit(inspect_path(path), as_json=as_json, render=lambda facts: views[facts["kind"]](facts))


def _bundle(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    wiring = facts["wiring"]
    table = Table("component", "modality", "inputs", "outputs", "engines, best first")
    for component in wiring["components"]:
        sources = component["bindings"]
        inputs = [
            f"{_tensor(spec)}\n  from {sources.get(spec['name'], 'the decoding loop')}"
            for spec in component["inputs"]
        ]
        outputs = [_tensor(spec) for spec in component["outputs"]]
        engines = [f"{e['kind']} {e['precision']}" for e in facts["engines"][component["name"]]]
        cells = ("\n".join(lines) for lines in (inputs, outputs, engines))
        table.add_row(component["name"], component["modality"], *cells)
    lines = [
        f"bundle {facts['name']} for {facts['target']}, {size(facts['size_bytes'])}, "
        f"compiled {facts['created']} by mmedge {facts['versions']['mmedge']}",
        f"checkpoint sha256 {facts['checkpoint_sha256']}",
        *(_input_line(item) for item in wiring["inputs"]),
        *(f"output {name}  from {source}" for name, source in wiring["outputs"].items()),
    ]
    return Group(*lines, table)


def _project(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group

    data = {key: value or "none" for key, value in facts["data"].items()}
    lines = [
        f"project {facts['name']} in {facts['path']}",
        f"recipe {facts['recipe']}",
        *(_input_line(item) for item in facts["inputs"]),
        *(f"axis {name}: {a['min']} to {a['max']}" for name, a in facts["axes"].items()),
        *(f"{key}: {value}" for key, value in data.items()),
    ]
    parts: list[RenderableType] = list(lines)
    if facts["checkpoint"]:
        parts.append(_checkpoint(facts["checkpoint"]))
    return Group(*parts)


def _checkpoint(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    tensors = facts["tensors"]
    table = Table("tensor", "dtype", "shape")
    for name, tensor in list(tensors.items())[:SHOWN_TENSORS]:
        table.add_row(name, tensor["dtype"], str(tensor["shape"]))
    lines = [f"checkpoint: {facts['format']}, {size(facts['size_bytes'])}, {len(tensors)} tensors"]
    lines += facts.get("notes", [])
    lines += [f"unpickling it would import {name}" for name in facts.get("objects", [])]
    more = len(tensors) - SHOWN_TENSORS
    tail = [f"... and {more} more tensors (--json shows all)"] if more > 0 else []
    return Group(*lines, table, *tail, *_decisions(facts.get("compile")))


def _decisions(proposal: dict[str, Any] | None) -> list[str]:
    """What `mmedge compile` would do with the checkpoint, and why."""
    if proposal is None:
        return []
    if "error" in proposal:
        return [f"mmedge compile would refuse it: {proposal['error']}"]
    raw = ", ".join(proposal["raw_inputs"])
    lines = [
        f"{proposal['architecture']}: {proposal['family']} (recipe {proposal['recipe']})",
        *(f"  {reason}" for reason in proposal["reasons"]),
        *(_input_line(item) for item in proposal["inputs"]),
        *(f"axis {n}: {a['min']} to {a['max']}" for n, a in proposal["axes"].items()),
        f"raw inputs: {raw} (through {proposal['processor']})" if raw else "raw inputs: none",
        *(f"  {note}" for note in proposal["processor_notes"]),
    ]
    if proposal["processor_reason"]:
        lines.append(f"  {proposal['processor_reason']}")
    refused = proposal["refused"].items()
    return lines + [f"not {recipe}: {reason}" for recipe, reason in refused]


def _tensor(spec: dict[str, Any]) -> str:
    return f"{spec['name']}: {spec['dtype']}[{', '.join(map(str, spec['shape']))}]"


def _input_line(item: dict[str, Any]) -> str:
    line = f"input {_tensor(item['spec'])}  {item['modality']}"
    line += ", may be absent" if item.get("optional") else ""
    line += f", tells whether {item['indicates']} is there" if item.get("indicates") else ""
    kind = item.get("preprocess", {}).get("kind")
    return line + (f", preprocessed as {kind}" if kind else ", takes the tensor itself")
