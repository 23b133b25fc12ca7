"""`mmedge run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import THREADS, FiniteRange, as_json, emit, engine, strong

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
@click.option("--image", multiple=True, help="An image file. Several are a batch.")
@click.option("--text", multiple=True, help="A text. Several are a batch.")
@click.option("--audio", multiple=True, help="A sound file. Several are a batch.")
@click.option("--max-new-tokens", type=click.IntRange(0), help="Generate at most so many tokens.")
@click.option("--temperature", type=FiniteRange(0, min_open=True), help="Sample; 1 as it is.")
@click.option("--top-k", type=click.IntRange(1), help="Sample from the likeliest tokens.")
@click.option(
    "--top-p",
    type=FiniteRange(0, 1, min_open=True),
    help="Sample from the tokens that make up this probability.",
)
@click.option("--min-p", type=FiniteRange(0, 1), help="Sample, by the likeliest's probability.")
@click.option("--seed", type=click.IntRange(0), help="Sample the same tokens every time.")
@click.option(
    "--stop-token", type=click.IntRange(0), multiple=True, help="End at this token id, too."
)
@click.option("--threads", type=THREADS, help="Threads for the engine.")
@engine
@click.option("--save", type=click.Path(), help="Also write all outputs to this file, as .npz.")
@as_json
def command(
    bundle: str,
    inputs: tuple[str, ...],
    image: tuple[str, ...],
    text: tuple[str, ...],
    audio: tuple[str, ...],
    stop_token: tuple[int, ...],
    threads: int | None,
    engine: str | None,
    save: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run BUNDLE on inputs from files and texts; a bundle that generates answers in text."""
    from mmedge import runtime
    from mmedge.cli.run_inputs import parse_inputs
    from mmedge.cli.run_tokens import answer, as_facts, check_generates
    from mmedge.runtime.engines_taken import engines_taken, sentences

    settings["stop_token"] = stop_token or None
    with runtime.load(bundle, threads=threads, engine=engine) as opened:
        for line in sentences(engines_taken(opened)):
            click.echo(f"· {line}", err=True)
        given = parse_inputs(inputs, {"image": image, "text": text, "audio": audio}, opened)
        if opened.wiring.generation is not None:
            tokens, printed = answer(opened, given, settings, stream=not as_json)
            outputs, facts = {"tokens": tokens}, as_facts(opened, tokens)
        else:
            check_generates(opened, settings)
            outputs, printed = opened(**given), None
            facts = {name: _describe(opened, name, array) for name, array in outputs.items()}
    if save:
        _save(Path(save), outputs)
    if printed is None or as_json:
        emit(facts, as_json=as_json, render=_table)
    else:
        click.echo(printed)


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
