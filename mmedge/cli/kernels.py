"""`mmedge kernels`: our own CUDA kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import as_json, emit, progress, quiet, size

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.group("kernels")
def command() -> None:
    """List our own CUDA kernels, or compile them; each takes --json.

    Compiling needs nvcc, which mmedge[kernels] brings, and no GPU.
    """


@command.command("list")
@as_json
def list_command(as_json: bool) -> None:
    """List the kernels, what they are compiled for, and whether that can be done here."""
    from mmedge.kernels.overview import overview

    emit(overview(), as_json=as_json, render=_listed)


@command.command("build")
@click.argument("kernel", default="attention")
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    metavar="X.Y|ptx",
    help="Of the GPU (8.7), or ptx for newer ones; repeatable. By default all in kernel.toml.",
)
@click.option("--target", help="The compute capability of this target; see `mmedge targets`.")
@click.option(
    "--output", type=click.Path(file_okay=False), help="Copy what is built there; by default kept."
)
@click.option(
    "--plugin", is_flag=True, help="Also TensorRT's plugin, installed for the runtimes here."
)
@click.option(
    "--tensorrt-include",
    type=click.Path(),
    help="Where NvInferRuntime.h is; by default the usual places.",
)
@as_json
@quiet
def build_command(as_json: bool, quiet: bool, **options: Any) -> None:
    """Compile KERNEL, and show what each variant takes of the GPU; more than its budget fails."""
    from mmedge.kernels.building import build_all

    with progress(quiet=quiet) as show:
        facts = build_all(**options, progress=show)
    emit(facts, as_json=as_json, render=_built)


def _listed(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    table = Table("kernel", "op", "dtypes", "head sizes up to", "compute capabilities")
    for row in facts["kernels"]:
        words = (row["dtypes"], map(str, row["padded_head_sizes"]), row["compute_capabilities"])
        table.add_row(row["kernel"], row["op"], *(", ".join(items) for items in words))
    found = facts["nvcc"]
    here = f"nvcc {found['version']}: {found['path']}" if found else facts["no_nvcc"]
    return Group(table, here)


def _built(facts: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    table = Table(title=f"kernel {facts['kernel']}")
    for heading in ("GPU", "variants", "registers", "spilled", "shared memory", "occupancy"):
        table.add_column(heading, justify="left" if heading == "GPU" else "right")
    lines = []
    for row in facts["built"]:
        table.add_row(row["compute_capability"], *_summary(row["resources"]))
        lines.append(f"{row['library']} ({size(row['size_bytes'])})")
        lines += [row["plugin"]] if row.get("plugin") else []
    return Group(table, *lines)


def _summary(resources: list[dict[str, Any]]) -> list[str]:
    """The most that a variant takes; of the occupancy the least and the most."""
    if not resources:
        return ["compiled by the driver", *"----"]
    shares = [item["occupancy"] for item in resources if item["occupancy"] is not None]
    return [
        str(len(resources)),
        str(max(item["registers"] for item in resources)),
        size(max(item["spilled_bytes"] for item in resources)),
        size(max(item["shared_bytes"] for item in resources)),
        f"{min(shares):.0%} to {max(shares):.0%}" if shares else "?",
    ]
