"""What commands share: JSON or a table on stdout, one moving line of progress on stderr."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

# Columns of a table that goes to a file or another program.
PIPE_WIDTH = 120

THREADS = click.IntRange(1, 1024)


class FiniteRange(click.FloatRange):
    """A range that NaN is not in: no comparison with it is true, so that click lets it pass."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, or a usage error."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
engine = click.option(
    "--engine",
    metavar="KIND",
    help="Run this kind of engine (tensorrt, onnxruntime), or fail; by default the best that runs.",
)
quiet = click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")


def emit(facts: Any, *, as_json: bool, render: Callable[[Any], RenderableType]) -> None:
    """Print `facts` as JSON, or what `render` makes of them."""
    import msgspec

    from mmedge.artifact import as_plain

    plain = msgspec.to_builtins(facts, enc_hook=as_plain)
    if as_json:
        import json

        click.echo(json.dumps(plain, indent=1, allow_nan=False))
        return
    from rich.console import Console

    # Brackets in what is printed are shapes and table names, never markup.
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(render(plain))


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows what is being done now."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet:
        yield lambda line: None
    elif not console.is_terminal:
        yield lambda line: console.print(f"· {line}", highlight=False, markup=False, soft_wrap=True)
    else:
        with console.status("starting") as status:
            yield lambda line: status.update(line)


def warning(text: str) -> Text:
    """A line that asks for attention."""
    from rich.text import Text

    return Text(text, style="yellow")


def strong(text: str) -> Text:
    """What the user asked for."""
    from rich.text import Text

    return Text(text, style="bold")


def size(size_bytes: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.2f} {unit}"
        size_bytes /= 1000
    raise AssertionError
