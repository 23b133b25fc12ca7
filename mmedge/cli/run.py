"""`mmedge run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import THREADS, as_json, emit, strong

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
@click.option("--threads", type=THREADS, help="Threads for the engine.")
@click.option("--save", type=click.Path(), help="Also write all outputs to this file, as .npz.")
@as_json
def command(
    bundle: str, inputs: tuple[str, ...], threads: int | None, save: str | None, as_json: bool
) -> None:
    """Run BUNDLE on inputs from files and texts."""
    from mmedge import runtime

    with runtime.load(bundle, threads=threads) as opened:
        outputs = opened(**_parse_all(inputs, opened))
        facts = {name: _describe(opened, name, array) for name, array in outputs.items()}
    if save:
        _save(Path(save), outputs)
    emit(facts, as_json=as_json, render=_table)


def _parse_all(items: tuple[str, ...], bundle: Bundle) -> dict[str, Any]:
    from mmedge.errors import InputError

    values: dict[str, Any] = {}
    for item in items:
        name, value = _parse(item, bundle)
        if name in values:
            raise InputError(f"input {name!r} is given twice", hint="once for each input")
        values[name] = value
    return values


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
        # Not np.load: that takes archives and, where it may, pickles.
        with Path(value).open("rb") as stream:
            return name, np.lib.format.read_array(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{value} is not a numpy array file", found=error) from error


def _describe(bundle: Bundle, name: str, array: Array) -> dict[str, Any]:
    """Shape, values, and for an output with labels the likeliest classes of each row."""
    facts: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    labels = bundle.labels(name)
    if labels is not None and array.ndim == 2 and array.dtype.kind == "f":
        facts["answers"] = [_ranked(row, labels) for row in array]
    facts["values"] = [_plain(value) for value in array.reshape(-1).tolist()]
    return facts


def _plain(value: Any) -> Any:
    """JSON has no NaN nor infinity: as text, in the words of protobuf's JSON mapping."""
    if value != value:
        return "NaN"
    infinite = value in (float("inf"), float("-inf"))
    return ("Infinity" if value > 0 else "-Infinity") if infinite else value


def _ranked(row: Array, labels: list[str]) -> list[dict[str, Any]]:
    best = row.argsort()[::-1][:SHOWN_CLASSES]
    return [{"label": labels[i], "score": _plain(float(row[i]))} for i in best]


def _save(path: Path, outputs: dict[str, Array]) -> None:
    import numpy as np

    from mmedge.storage import atomic_file

    with atomic_file(path) as stream:
        np.savez(stream, **outputs)  # type: ignore[arg-type]


def _table(facts: dict[str, Any]) -> RenderableType:
    from rich.table import Table

    table = Table("output", "shape", "value")
    for name, output in facts.items():
        if "answers" in output:
            for answers in output["answers"]:
                shown = ", ".join(f"{a['label']} ({_number(a['score'], '.2f')})" for a in answers)
                table.add_row(name, str(output["shape"]), strong(shown))
            continue
        values = ", ".join(_number(v) for v in output["values"][:SHOWN_VALUES])
        more = " ..." if len(output["values"]) > SHOWN_VALUES else ""
        table.add_row(name, str(output["shape"]), values + more)
    return table


def _number(value: Any, layout: str = ".4g") -> str:
    return value if isinstance(value, str) else f"{value:{layout}}"
