"""Sizes as bars: the checkpoint's weights, and every engine with its weights and its graph."""

from __future__ import annotations

from typing import Any

from mmedge.report import svg
from mmedge.report.native_engines import native_size_bytes
from mmedge.report.quantities import size

WIDTH, ROW, BAR = 760.0, 30.0, 18.0
NAMES, VALUES = 190.0, 90.0


def size_plot(report: dict[str, Any]) -> str:
    """Bars on one scale as SVG."""
    rows = _bars(report)
    scale = (WIDTH - NAMES - VALUES) / max(*(sum(parts) for _, _, parts in rows), 1)
    root = svg.picture(
        WIDTH,
        ROW * len(rows) + 4,
        name="size-plot",
        title="Size of the checkpoint and of the engines",
        description="; ".join(f"{name}: {size(sum(parts))}" for name, _, parts in rows) + ".",
    )
    root.set("class", "plot")
    for index, (name, kind, parts) in enumerate(rows):
        top = index * ROW + 4
        shown = svg.shorten(name, NAMES - 12, 13)
        svg.add(root, "text", shown, x=NAMES - 12, y=top + 14, class_="key", text_anchor="end")
        x = NAMES
        for part, tone in zip(parts, ("weights", "rest"), strict=False):
            svg.add(root, "rect", x=x, y=top, width=part * scale, height=BAR,
                    class_=f"bar {kind} {tone}")  # fmt: skip
            x += part * scale
        svg.add(root, "text", size(sum(parts)), x=x + 8, y=top + 14, class_="key")
    return svg.to_markup(root)


def _bars(report: dict[str, Any]) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, kind, and the bytes of weights and of the rest."""
    engines = [
        (component["name"], "engine", _parts(component)) for component in report["components"]
    ]
    total = tuple(map(sum, zip(*(parts for _, _, parts in engines), strict=True)))
    bars = [("checkpoint weights", "pytorch", (report["checkpoint"]["size_bytes"],)), *engines]
    if len(engines) > 1:
        bars.append(("all engines", "engine", total))
    native = native_size_bytes(report)
    return bars if native is None else [*bars, ("engines of the target", "engine", (native,))]


def _parts(component: dict[str, Any]) -> tuple[int, int]:
    """Bytes of weights, and of the graph around them."""
    total = component["engine"]["size_bytes"]
    weights = min(component["weight_bytes"], total)
    return weights, total - weights
