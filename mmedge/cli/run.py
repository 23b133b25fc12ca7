"""`mmedge run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import as_json, emit, strong

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mmedge.runtime import Bundle
    from mmedge.tensors import Array

SHOWN_CLASSES = 3
SHOWN_VALUES = 8


@click.command("run")
@click.argument("bundle", type=click.Path())
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An input: a file (photo.png, clip.wav, array.npy) or a text. Once for each input.",
)
@click.option("--threads", type=int, help="Threads for the engine.")
@click.option("--save", type=click.Path(), help="Also write all outputs to this .npz file.")
@as_json
def command(
    bundle: str, inputs: tuple[str, ...], threads: int | None, save: str | None, as_json: bool
) -> None:
    """Run BUNDLE on inputs from files and texts."""
    from mmedge import runtime

    with runtime.load(bundle, threads=threads) as opened:
        outputs = opened(**dict(_parse(item, opened) for item in inputs))
        facts = {name: _describe(opened, name, array) for name, array in outputs.items()}
    if save:
        _save(Path(save), outputs)
    emit(facts, as_json=as_json, render=_table)


def _parse(item: str, bundle: Bundle) -> tuple[str, Any]:
    """NAME=VALUE; a .npy file is an array, every other value is left to preprocessing."""
    import numpy as np

    from mmedge.errors import InputError

    name, equals, value = item.partition("=")
    known = [model_input.spec.name for model_input in bundle.wiring.inputs]
    if not equals:
        raise InputError(f"{item!r} is not NAME=VALUE", expected=f"one of {', '.join(known)}")
    if not value.endswith(".npy"):
        return name, value
    try:
        return name, np.load(value, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{value} is not a numpy array file", found=error) from error


def _describe(bundle: Bundle, name: str, array: Array) -> dict[str, Any]:
    """Shape, values, and for an output with labels the likeliest classes of each row."""
    facts: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    labels = bundle.labels(name)
    if labels is not None and array.ndim == 2 and array.dtype.kind == "f":
        facts["answers"] = [_ranked(row, labels) for row in array]
    facts["values"] = array.reshape(-1).tolist()
    return facts


def _ranked(row: Array, labels: list[str]) -> list[dict[str, Any]]:
    best = row.argsort()[::-1][:SHOWN_CLASSES]
    return [{"label": labels[i], "score": float(row[i])} for i in best]


def _save(path: Path, outputs: dict[str, Array]) -> None:
    import os

    import numpy as np

    from mmedge.storage import explained_os_errors

    temporary = path.with_name(f".{path.name}.tmp")
    with explained_os_errors(path):
        with temporary.open("wb") as stream:
            np.savez(stream, **outputs)  # type: ignore[arg-type]
        os.replace(temporary, path)


def _table(facts: dict[str, Any]) -> RenderableType:
    from rich.table import Table

    table = Table("output", "shape", "value")
    for name, output in facts.items():
        if "answers" in output:
            for answers in output["answers"]:
                shown = ", ".join(f"{a['label']} ({a['score']:.2f})" for a in answers)
                table.add_row(name, str(output["shape"]), strong(shown))
            continue
        values = ", ".join(f"{v:.4g}" for v in output["values"][:SHOWN_VALUES])
        more = " ..." if len(output["values"]) > SHOWN_VALUES else ""
        table.add_row(name, str(output["shape"]), values + more)
    return table
