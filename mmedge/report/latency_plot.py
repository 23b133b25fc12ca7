"""The distribution of end-to-end latencies: what share of calls finished within a time."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from mmedge.report import svg
from mmedge.report.axis import Axis, axis_for
from mmedge.report.quantities import (
    CALLS_FOR_PERCENTILE,
    milliseconds,
    plural,
    significant,
)

WIDTH, HEIGHT = 760.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 736.0, 44.0, 284.0
MARKED = (50, 90, 99)
TITLES = {"engine": "engine", "pytorch": "PyTorch eager"}


def latency_plot(whole: dict[str, Any]) -> str | None:
    """The empirical distribution functions of `samples_ms` as SVG; None without samples."""
    series = {name: sorted(values) for name, values in whole["samples_ms"].items() if values}
    if not series:
        return None
    axis = axis_for([v for values in series.values() for v in values], left=LEFT, right=RIGHT)
    root = svg.picture(
        WIDTH,
        HEIGHT,
        name="latency-plot",
        title="Distribution of end-to-end latencies",
        description=_in_words(series, whole["summaries"]),
    )
    root.set("class", "plot")
    _draw_axes(root, axis)
    order = sorted(series, key=lambda name: whole["summaries"][name]["p50_ms"])
    for name in order:
        _draw_curve(root, axis, name, series[name])
    for name in order:
        before = name == order[0] and len(order) > 1
        _draw_marks(root, axis, name, whole["summaries"][name], before=before)
    _draw_key(root, series)
    return svg.to_markup(root)


def marks(summary: dict[str, Any]) -> dict[int, float]:
    """Percentile -> milliseconds, of those for which there are enough calls."""
    return {p: summary[f"p{p}_ms"] for p in MARKED if summary["count"] >= CALLS_FOR_PERCENTILE[p]}


def _in_words(series: dict[str, list[float]], summaries: dict[str, Any]) -> str:
    parts = []
    for name in series:
        found = [f"p{p} {milliseconds(value)}" for p, value in marks(summaries[name]).items()]
        parts.append(f"{TITLES.get(name, name)}: {', '.join(found)}")
    return "Share of calls that finished within a time. " + "; ".join(parts) + "."


def _height_of(share: float) -> float:
    return BOTTOM - share * (BOTTOM - TOP)


def _draw_axes(root: Element, axis: Axis) -> None:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _height_of(share)
        svg.add(root, "line", x1=LEFT, x2=RIGHT, y1=y, y2=y, class_="grid")
        svg.add(
            root, "text", f"{share:.0%}", x=LEFT - 8, y=y + 4, class_="small", text_anchor="end"
        )
    for value in axis.ticks():
        x = axis.position(value)
        svg.add(root, "line", x1=x, x2=x, y1=TOP, y2=BOTTOM, class_="grid")
        text = significant(value, 1 if axis.logarithmic else 3)
        svg.add(root, "text", text, x=x, y=BOTTOM + 18, class_="small", text_anchor="middle")
    scale = "logarithmic scale" if axis.logarithmic else "linear scale"
    caption = f"latency of one call in ms, {scale}"
    middle = (LEFT + RIGHT) / 2
    svg.add(root, "text", caption, x=middle, y=HEIGHT - 12, class_="small", text_anchor="middle")


def _draw_curve(root: Element, axis: Axis, name: str, values: list[float]) -> None:
    """A staircase: it rises by 1/n at each of the n sorted samples."""
    points = [f"M{axis.position(values[0]):.1f},{_height_of(0):.1f}"]
    for index, value in enumerate(values):
        points.append(f"H{axis.position(value):.1f} V{_height_of((index + 1) / len(values)):.1f}")
    svg.add(root, "path", d=" ".join(points), class_=f"curve {name}")


def _draw_marks(
    root: Element, axis: Axis, name: str, summary: dict[str, Any], *, before: bool
) -> None:
    """Dots at the percentiles; the faster side's labels stand before them, the other's after."""
    for percentile, value in marks(summary).items():
        x, y = axis.position(value), _height_of(percentile / 100)
        svg.add(root, "circle", cx=x, cy=y, r=4, class_=f"mark {name}")
        text = f"p{percentile} {milliseconds(value)}"
        # A label that would leave the plot stands on the other side of its dot.
        wide = len(text) * svg.CHARACTER_WIDTH * 11 + 12
        left = before if before and x - wide > LEFT else not before and x + wide > RIGHT
        anchor = {"x": x - 9, "text_anchor": "end"} if left else {"x": x + 9}
        svg.add(root, "text", text, y=y + (-6 if left else 14), class_=f"label {name}", **anchor)


def _draw_key(root: Element, series: dict[str, list[float]]) -> None:
    x = LEFT
    for name, values in series.items():
        svg.add(root, "line", x1=x, x2=x + 26, y1=16, y2=16, class_=f"curve {name}")
        text = f"{TITLES.get(name, name)} ({plural(len(values), 'call')} shown)"
        svg.add(root, "text", text, x=x + 34, y=20, class_="key")
        x += 34 + len(text) * svg.CHARACTER_WIDTH * 13 + 28
