"""`mmedge init`."""

from __future__ import annotations

from pathlib import Path

import click

from mmedge.cli.console import as_json, emit


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file, or a directory for mmedge.toml; beside the checkpoint by default.",
)
@click.option("--force", is_flag=True, help="Replace an existing project file.")
@as_json
def command(path: Path, output: Path | None, force: bool, as_json: bool) -> None:
    """Write a first mmedge.toml by looking at the checkpoint at PATH."""
    from mmedge.proposing import is_checkpoint_directory

    written, text = (
        _proposed(path, output, force)
        if is_checkpoint_directory(path)
        else _guessed(path, output, force)
    )
    facts = {"written": str(written), "text": text}
    if as_json:
        emit(facts, as_json=True, render=str)
        return
    # As it is in the file: no line of TOML may be wrapped.
    click.echo(text, nl=not text.endswith("\n"))
    click.echo(f"written to {written}", err=True)


def _proposed(path: Path, output: Path | None, force: bool) -> tuple[Path, str]:
    """What a recipe proposes; where none does, what the files tell."""
    from mmedge.errors import MissingDependencyError, ProjectError
    from mmedge.proposed_text import write_proposed

    try:
        return write_proposed(path, output=output, force=force)
    except (ProjectError, MissingDependencyError):
        return _guessed(path, output, force)


def _guessed(path: Path, output: Path | None, force: bool) -> tuple[Path, str]:
    from mmedge.checkpoint.describe import write_project_file

    return write_project_file(path, output=output, force=force)
