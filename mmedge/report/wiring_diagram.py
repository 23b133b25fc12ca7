"""The wiring as a picture: inputs, components, outputs, and what flows between them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element

from mmedge.report import svg
from mmedge.report.layered_layout import Edge, Layout, Node, arrange
from mmedge.report.quantities import plural, shape, size

BOX_WIDTH, BOX_HEIGHT = 172.0, 58.0
COLUMN_STEP, ROW_STEP = 236.0, 80.0
MARGIN, LOOP = 6.0, 34.0
TITLE_SIZE, LINE_SIZE = 13.0, 11.0
BOLDER = 1.15  # bold letters are wider
SMALLEST_SCALE = 0.75  # a wider diagram scrolls: its text would be smaller than people can read


@dataclass(frozen=True)
class Box:
    """What is drawn for one node; `kind` is "input", "component" or "output"."""

    kind: str
    name: str
    lines: tuple[str, str]
    optional: bool = False


# Fields of a generation that name what the loop reads.
PROMPT = ("prompt", "prompt_mask", "prompt_positions")


def wiring_diagram(report: dict[str, Any]) -> str:
    """The diagram of a report's wiring as SVG."""
    boxes = _boxes(report)
    flows = _flows(report)
    last = [node for node, box in boxes.items() if box.kind == "output"]
    layout = arrange(list(boxes), flows, last=last)
    tallest = max(map(len, layout.columns))
    width = (len(layout.columns) - 1) * COLUMN_STEP + BOX_WIDTH + 2 * MARGIN
    height = (tallest - 1) * ROW_STEP + BOX_HEIGHT + 2 * MARGIN
    height += LOOP if report["generation"] else 0
    root = svg.picture(
        width,
        height,
        name="wiring-diagram",
        title=f"Wiring of {report['name']}",
        description=_in_words(boxes, flows),
    )
    root.set("class", "wiring")
    root.set("style", f"min-width: {SMALLEST_SCALE * width:.0f}px")
    _arrow_head(root)
    for edge, tensors in flows.items():
        _draw_edge(root, layout, edge, tensors, optional=boxes[edge[0]].optional)
    for column, nodes in enumerate(layout.columns):
        for node in nodes:
            if node in boxes:
                _draw_box(root, boxes[node], *_corner(layout, node, column))
    _draw_generation(root, report, layout)
    return svg.to_markup(root)


def _boxes(report: dict[str, Any]) -> dict[Node, Box]:
    """Node -> box, in an order in which every flow points forward."""
    boxes: dict[Node, Box] = {}
    for item in report["inputs"]:
        spec = item["spec"]
        lines = (_role(item), shape(spec["shape"]))
        optional = item.get("optional", False)
        boxes["input", spec["name"]] = Box("input", spec["name"], lines, optional)
    for component in report["components"]:
        engine = component["engine"]
        lines = (component["modality"], f"{engine['precision']}, {size(engine['size_bytes'])}")
        boxes["component", component["name"]] = Box("component", component["name"], lines)
    specs = output_specs(report)
    for name, source in report["outputs"].items():
        known = specs.get(source)
        lines = (known["dtype"], shape(known["shape"])) if known else ("made by", source)
        boxes["output", name] = Box("output", name, lines)
    return boxes


def _role(item: dict[str, Any]) -> str:
    if item.get("indicates"):
        return f"says if {item['indicates']} is there"
    optional = ", optional" if item.get("optional") else ""
    return f"{item['modality']} {item['spec']['dtype']}{optional}"


def output_specs(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Source -> spec of every component output, and of the tokens that generation makes."""
    specs = {f"{c['name']}.{o['name']}": o for c in report["components"] for o in c["outputs"]}
    if report["generation"]:
        made = {"name": "tokens", "dtype": "int64", "shape": ["batch", "length"]}
        specs[f"{report['generation']['decoder']}.tokens"] = made
    return specs


def _flows(report: dict[str, Any]) -> dict[Edge, list[str]]:
    """(producer, consumer) -> the sources that flow between them."""
    flows: dict[Edge, list[str]] = {}
    wanted: list[tuple[str, Node]] = [
        (source, ("component", component["name"]))
        for component in report["components"]
        for source in component["bindings"].values()
    ]
    wanted += [(source, ("output", name)) for name, source in report["outputs"].items()]
    wanted += _read_by_generation(report)
    inputs = {item["spec"]["name"] for item in report["inputs"]}
    for source, user in wanted:
        producer = source.partition(".")[0] if "." in source else ""
        maker = ("input", source) if source in inputs else ("component", producer)
        flows.setdefault((maker, user), []).append(source)
    return flows


def _read_by_generation(report: dict[str, Any]) -> list[tuple[str, Node]]:
    """What the generating loop hands to the decoder: the prompt, its mask, its embeddings."""
    generation = report["generation"] or {}
    embedded = generation.get("prompt_embeddings")
    # The ids are in the embeddings already.
    names = ("prompt_mask", "prompt_positions") if embedded else PROMPT
    read = [embedded] if embedded else []
    read += [generation[name] for name in names if generation.get(name)]
    return [(source, ("component", generation["decoder"])) for source in read]


def _in_words(boxes: dict[Node, Box], flows: dict[Edge, list[str]]) -> str:
    sentences = []
    for node, box in boxes.items():
        users = [boxes[user].name for maker, user in flows if maker == node]
        if users:
            optional = "optional " if box.optional else ""
            sentences.append(f"{optional}{box.kind} {box.name} feeds {', '.join(users)}")
        elif box.kind == "input":
            sentences.append(f"input {box.name} is not read by any component")
    return "; ".join(sentences) + "."


def _corner(layout: Layout, node: Node, column: int) -> tuple[float, float]:
    return MARGIN + column * COLUMN_STEP, MARGIN + layout.rows[node] * ROW_STEP


def _arrow_head(root: Element) -> None:
    marker = svg.add(
        svg.add(root, "defs"), "marker", id="arrow", viewBox="0 0 8 8", refX=7, refY=4,
        markerWidth=7, markerHeight=7, orient="auto",
    )  # fmt: skip
    svg.add(marker, "path", d="M0,0.5 L7.5,4 L0,7.5 Z", class_="arrow")


def _draw_edge(
    root: Element, layout: Layout, edge: Edge, tensors: list[str], *, optional: bool
) -> None:
    """A curve from box to box, level where it passes through a slot."""
    path = layout.paths[edge]
    start = next(i for i, column in enumerate(layout.columns) if edge[0] in column)
    points = []
    for step, node in enumerate(path):
        left, top = _corner(layout, node, start + step)
        middle = top + BOX_HEIGHT / 2
        points += [(left, middle), (left + BOX_WIDTH, middle)]
    points = points[1:-1]
    drawn = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (x1 - x0) / 2
        drawn += f" C{x0 + bend:.1f},{y0:.1f} {x1 - bend:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
    kind = "flow" + " optional" * optional + " several" * (len(tensors) > 1)
    curve = svg.add(root, "path", d=drawn, class_=kind, marker_end="url(#arrow)")
    svg.add(curve, "title", ", ".join(tensors))


def _draw_box(root: Element, box: Box, left: float, top: float) -> None:
    group = svg.add(root, "g", class_=f"box {box.kind}{' optional' if box.optional else ''}")
    svg.add(group, "title", f"{box.kind} {box.name}: {', '.join(box.lines)}")
    svg.add(
        group, "rect", x=left, y=top, width=BOX_WIDTH, height=BOX_HEIGHT,
        rx=8 if box.kind == "component" else BOX_HEIGHT / 2,
    )  # fmt: skip
    middle = left + BOX_WIDTH / 2
    name = svg.shorten(box.name, BOX_WIDTH - 24, BOLDER * TITLE_SIZE)
    svg.add(group, "text", name, x=middle, y=top + 21, class_="name", text_anchor="middle")
    for line, text in enumerate(box.lines):
        shown = svg.shorten(text, BOX_WIDTH - 24, LINE_SIZE)
        y = top + 36 + 14 * line
        svg.add(group, "text", shown, x=middle, y=y, class_="small", text_anchor="middle")


def _draw_generation(root: Element, report: dict[str, Any], layout: Layout) -> None:
    """The loop from the decoder back into itself."""
    generation = report["generation"]
    if not generation:
        return
    node = ("component", generation["decoder"])
    column = next(i for i, nodes in enumerate(layout.columns) if node in nodes)
    left, top = _corner(layout, node, column)
    bottom, right = top + BOX_HEIGHT, left + BOX_WIDTH
    drawn = f"M{right - 30:.1f},{bottom:.1f} v8 q0,8 -8,8 H{left + 38:.1f} q-8,0 -8,-8 v-7"
    svg.add(root, "path", d=drawn, class_="flow", marker_end="url(#arrow)")
    text = f"token and {plural(len(generation['cache']), 'cache tensor')}, for each token"
    svg.add(root, "text", text, x=left + BOX_WIDTH / 2, y=bottom + 29, class_="small",
            text_anchor="middle")  # fmt: skip
