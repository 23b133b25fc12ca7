"""`mmedge compile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmedge.cli.console import THREADS, as_json, emit, progress, quiet, size, warning
from mmedge.cli.shape_options import builder_options

if TYPE_CHECKING:
    from rich.console import RenderableType


def _share(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """A fraction, or a percentage with its sign: 0.005 or 0.5%."""
    if value is None:
        return None
    text = value.strip()
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a fraction nor a percentage") from None


@click.command("compile")
@click.argument("path", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), help="The bundle to write.")
@click.option("--target", default="cpu", show_default=True, help="See `mmedge targets`.")
@click.option("--max-drop", callback=_share, help="Largest allowed fall of the task metric: 0.5%.")
@click.option("--tolerance", type=float, help="Largest allowed relative movement of an output.")
@click.option("--opset", type=int, help="ONNX operator set; the target's by default.")
@click.option(
    "--precision",
    type=click.Choice(("fp32", "tf32", "fp16", "bf16", "int8")),
    help="What engines compute in; fp32 by default.",
)
@click.option(
    "--io-precision",
    type=click.Choice(("fp32", "same")),
    help="Of caches and of what goes between components; fp32 by default.",
)
@click.option(
    "--attention",
    type=click.Choice(("auto", "plugin", "builtin")),
    help="Our attention kernel in TensorRT engines, or TensorRT's own; by a table by default.",
)
@builder_options
@click.option("--threads", type=THREADS, help="Threads for the engine and for PyTorch; all cores.")
@click.option("--measure-seconds", type=float, help="How long to measure; 0 skips it.")
@click.option("--allow-slower", is_flag=True, default=None, help="Accept a slower engine.")
@click.option(
    "--cache-capacity",
    type=click.IntRange(min=1),
    help="Room for so many tokens in a decoder's cache, bound once; by default it grows.",
)
@click.option("--debug", is_flag=True, default=None, help="Check every graph pass numerically.")
@click.option("--trust-pickle", is_flag=True, default=None, help="Unpickle; your own files only.")
@click.option(
    "--sample",
    "samples",
    multiple=True,
    type=click.Path(),
    help="Your own image, sound, text or JSON to verify a checkpoint directory with.",
)
@click.option(
    "--trust-remote-code", is_flag=True, default=None, help="Run a checkpoint's own Python files."
)
@click.option(
    "--ignore-estimate", is_flag=True, default=None, help="Begin even if memory or disk are short."
)
@click.option("--no-cache", is_flag=True, help="Do every stage again.")
@as_json
@quiet
def command(
    path: str, output: str, target: str, no_cache: bool, as_json: bool, quiet: bool, **settings: Any
) -> None:
    """Compile the project or the Hugging Face checkpoint at PATH into a verified bundle."""
    from mmedge.pipeline import compile_project

    with progress(quiet=quiet) as show:
        compiled = compile_project(
            path, output=output, target=target, use_cache=not no_cache, progress=show, **settings
        )
    facts = {"bundle": str(compiled.bundle), **compiled.report}
    emit(facts, as_json=as_json, render=_table)


def _table(report: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    table = Table(title=f"{report['name']} for {report['target']['name']}")
    for heading in (
        "component",
        "engine",
        "size",
        "largest difference",
        "PyTorch p50",
        "engine p50",
    ):
        table.add_column(heading, justify="left" if heading in ("component", "engine") else "right")
    measured = report["measurement"]["components"]
    compared = report["verification"]["components"]
    for component in report["components"]:
        name, engine = component["name"], _engine(report, component)
        worst = max((d["relative"] for d in compared[name].values()), default=0.0)
        pair = _pair(measured.get(name))
        kind = f"{engine['kind']} {engine['precision']}"
        table.add_row(name, kind, size(engine["size_bytes"]), f"{worst:.1e}", *pair)
    worst = max(d["relative"] for d in report["verification"]["end_to_end"].values())
    total = sum(_engine(report, c)["size_bytes"] for c in report["components"])
    whole = _pair(report["measurement"]["end_to_end"])
    table.add_section()
    table.add_row("end to end", "", size(total), f"{worst:.1e}", *whole, style="bold")
    return Group(table, *_sentences(report))


def _engine(report: dict[str, Any], component: dict[str, Any]) -> dict[str, Any]:
    """The target's own engine where it was built, else the one that ran here."""
    native = report["native"].get(component["name"])
    found: dict[str, Any] = (native and native["engine"]) or component["engine"]
    return found


def _native(report: dict[str, Any]) -> list[RenderableType]:
    """What is said of engines that this machine cannot run."""
    if not report["native"]:
        return []
    from mmedge.report.native_engines import built_with, missing_plugin

    ways = dict.fromkeys(built_with(item) for item in report["native"].values())
    lines = [f"engines of {report['target']['name']}: {'; '.join(ways)}"]
    if any(item["engine"] is None for item in report["native"].values()):
        lines.append(f"on the device: mmedge build {report['bundle']}")
    plugin = missing_plugin(report)
    if plugin is not None:
        lines.append(f"on the device, before that, our attention kernel: {plugin}")
    lines.append("equality was proved with ONNX Runtime; on the target: mmedge verify BUNDLE")
    return [*lines]


def _pair(measured: dict[str, Any] | None) -> tuple[str, str]:
    if measured is None:
        return "not measured", "not measured"
    summaries = measured["summaries"]
    return tuple(f"{summaries[side]['p50_ms']:.3f} ms" for side in ("pytorch", "engine"))  # type: ignore[return-value]


def _sentences(report: dict[str, Any]) -> list[RenderableType]:
    from mmedge.report.quantized import quantized_rows

    lines: list[RenderableType] = []
    task = report["verification"]["task"]
    if task:
        before, after = task["before"], task["after"]
        lines.append(f"{task['metric']} on {task['samples']} samples: {before:.4f} -> {after:.4f}")
    if not report["verification"]["real_inputs"]:
        lines.append(warning("verified on synthetic inputs only: declare [data] evaluation"))
    measured, dirty = report["measurement"]["end_to_end"], report["measurement"]["dirty"]
    if measured:
        ratio = measured["speedup"]
        span = f"({ratio['low']:.2f} to {ratio['high']:.2f}, 95%)"
        if dirty:
            again = "disturbed, so not kept: the next compile measures again"
            lines.append(warning(f"speed over PyTorch eager {span}: {again}"))
            lines += [warning(reason) for reason in dirty]
        else:
            lines.append(f"{ratio['value']:.2f}x PyTorch eager {span}")
    lines += [warning(remark) for remark in report["remarks"]]
    lines += [f"int8: {row.component}: {row.outcome}" for row in quantized_rows(report)]
    lines += _native(report)
    lines += _memory(report)
    lines.append(f"bundle: {report['bundle']}  (open report.html)")
    return lines


def _memory(report: dict[str, Any]) -> list[RenderableType]:
    """What was used beside what was expected; of a compile from the cache there is nothing."""
    used = report["stages"][-1]["peak_rss_bytes"]
    if used is None or any(row["cached"] for row in report["stages"]):
        return []
    expected = report["resources"]["expected_peak_bytes"]
    return [f"largest memory {size(used)}, expected {size(expected)}"]
