"""Options of every command that builds engines: sizes of axes, time and memory of the builder."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# No device has as much memory: what is more is mistyped.
LARGEST_WORKSPACE = 10**12


def _shapes(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str] | None:
    """AXIS=SIZES, each axis once."""
    found: dict[str, str] = {}
    for value in values:
        axis, equals, sizes = value.partition("=")
        if not equals or not axis or not sizes:
            raise click.BadParameter(f"{value!r} is not AXIS=MIN:OPT:MAX, as batch=1:4:16")
        if axis in found:
            raise click.BadParameter(f"axis {axis!r} is given twice: {axis}={found[axis]},{sizes}?")
        found[axis] = sizes
    return found or None


def _bytes(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """A size with its unit: 512MB, 1.5GB."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?B?)", value.strip().upper(), re.ASCII)
    if match is None or match[2] not in UNITS or float(match[1]) <= 0:
        raise click.BadParameter(f"{value!r} is not a size, as 512MB or 1GB")
    size_bytes = int(float(match[1]) * UNITS[match[2]])
    if not 0 < size_bytes <= LARGEST_WORKSPACE:
        raise click.BadParameter(f"{value!r} is not within 1B and 1TB")
    return size_bytes


def builder_options(command: F) -> F:
    """Adds `shapes`, `optimization_level` and `workspace_bytes`, each None where not given."""
    options = (
        click.option(
            "--shape",
            "shapes",
            multiple=True,
            callback=_shapes,
            metavar="AXIS=MIN:OPT:MAX",
            help="Sizes of an axis that engines are built for; with commas, a profile each.",
        ),
        click.option(
            "--optimization-level",
            type=click.IntRange(0, 5),
            help="How long a builder may look for the fastest engine; its own default.",
        ),
        click.option(
            "--workspace",
            "workspace_bytes",
            callback=_bytes,
            metavar="SIZE",
            help="The most scratch memory for a layer of an engine: 512MB, 1GB.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
