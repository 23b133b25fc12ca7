"""The attention benchmark as a picture: for each case, how many times faster than each peer."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from mmedge.report import svg
from mmedge.report.axis import Axis, axis_for

LEFT, RIGHT, TOP, ROW = 210.0, 700.0, 70.0, 26.0
COLOURS = {
    "sdpa-flash": "#1b6ac9",
    "sdpa-cudnn": "#3f8f29",
    "sdpa-efficient": "#b5651d",
    "flex-triton": "#7b3fa0",
}


def plot(facts: dict[str, Any]) -> str:
    """An SVG: a row for each case, a dot for each contender, a line where both are equal."""
    rows = facts["cases"]
    values = [r["value"] for row in rows for r in row["times_faster"].values()]
    height = TOP + ROW * len(rows) + 50
    root = svg.picture(
        RIGHT + 30,
        height,
        name="attention",
        title=f"Attention kernels on {facts['device']['name']}, {facts['dtype']}",
        description="Times faster than each contender; right of 1 mmedge is faster.",
    )
    root.set("xmlns", "http://www.w3.org/2000/svg")
    root.set("style", "background:#fff;font-family:sans-serif")
    axis = axis_for([*values, 1.0], left=LEFT, right=RIGHT)
    _draw_key(root)
    _draw_axis(root, axis, bottom=TOP + ROW * len(rows))
    for number, row in enumerate(rows):
        y = TOP + ROW * (number + 0.5)
        svg.add(root, "text", row["name"], x=LEFT - 10, y=y + 4, font_size=13, text_anchor="end")
        for name, ratio in row["times_faster"].items():
            x, colour = axis.position(ratio["value"]), COLOURS.get(name, "#666")
            svg.add(root, "circle", cx=x, cy=y, r=5, fill=colour)
    return svg.to_markup(root)


def _draw_key(root: Element) -> None:
    for number, (name, colour) in enumerate(COLOURS.items()):
        x = LEFT + 125 * number
        svg.add(root, "circle", cx=x, cy=24, r=5, fill=colour)
        svg.add(root, "text", name, x=x + 10, y=28, font_size=12)


def _draw_axis(root: Element, axis: Axis, *, bottom: float) -> None:
    for value in axis.ticks():
        x = axis.position(value)
        svg.add(root, "line", x1=x, x2=x, y1=TOP, y2=bottom, stroke="#ddd")
        svg.add(root, "text", f"{value:g}", x=x, y=bottom + 18, font_size=12, text_anchor="middle")
    equal = axis.position(1.0)
    svg.add(root, "line", x1=equal, x2=equal, y1=TOP, y2=bottom, stroke="#333", stroke_width=1.5)
    caption = "times faster than the contender"
    x = (LEFT + RIGHT) / 2
    svg.add(root, "text", caption, x=x, y=bottom + 38, font_size=12, text_anchor="middle")
