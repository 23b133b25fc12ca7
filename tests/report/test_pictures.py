from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmedge.report import svg
from mmedge.report.axis import axis_for
from mmedge.report.latency_plot import latency_plot, marks
from mmedge.report.size_plot import size_plot
from mmedge.report.wiring_diagram import wiring_diagram


def _texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter("text")]


def _of_class(picture: str, tag: str, name: str) -> list[ElementTree.Element]:
    elements = ElementTree.fromstring(picture).iter(tag)
    return [e for e in elements if name in e.get("class", "").split()]


@given(st.lists(st.floats(min_value=1e-4, max_value=1e5), min_size=1, max_size=20))
@example([0.01])  # one sample: both ends of the axis are ticks but for rounding
def test_an_axis_holds_its_values_in_order_and_has_ticks(values: list[float]) -> None:
    axis = axis_for(values, left=50, right=700)
    positions = [axis.position(value) for value in sorted(values)]
    assert positions == sorted(positions)
    assert all(50 <= position <= 700 for position in positions)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 12
    assert all(axis.low <= tick <= axis.high * (1 + 1e-9) for tick in ticks)


def test_an_axis_is_logarithmic_where_values_span_a_power_of_ten() -> None:
    assert axis_for([0.1, 200.0], left=0, right=1).logarithmic
    assert not axis_for([2.0, 8.0], left=0, right=1).logarithmic


def test_latencies_are_two_curves_with_their_percentiles(report: dict[str, Any]) -> None:
    picture = latency_plot(report["measurement"]["end_to_end"])
    assert picture is not None
    assert len(_of_class(picture, "path", "curve")) == 2
    texts = _texts(picture)
    assert "p50 2.00 ms" in texts
    assert "p50 8.40 ms" in texts
    assert "engine (200 calls shown)" in texts
    assert "latency of one call in ms, linear scale" in texts


def test_a_curve_rises_from_no_call_to_all(report: dict[str, Any]) -> None:
    picture = latency_plot(report["measurement"]["end_to_end"])
    assert picture is not None
    for curve in _of_class(picture, "path", "curve"):
        steps = [word for word in curve.get("d", "").split() if word.startswith("V")]
        heights = [float(step[1:]) for step in steps]
        assert heights == sorted(heights, reverse=True)
        assert len(heights) == 200


def test_without_samples_there_is_no_plot(report: dict[str, Any]) -> None:
    whole = report["measurement"]["end_to_end"]
    assert latency_plot({**whole, "samples_ms": {}}) is None


def test_a_tail_is_marked_only_where_there_are_calls_in_it(report: dict[str, Any]) -> None:
    summary = report["measurement"]["end_to_end"]["summaries"]["engine"]
    assert list(marks({**summary, "count": 200})) == [50, 90, 99]
    assert list(marks({**summary, "count": 20})) == [50, 90]


@pytest.mark.parametrize("components", [1, 2, 8])
def test_wiring_has_every_box_and_every_flow(make_report: Any, components: int) -> None:
    report = make_report(components=components)
    picture = wiring_diagram(report)
    names = {part["name"] for part in report["components"]}
    names |= {item["spec"]["name"] for item in report["inputs"]} | set(report["outputs"])
    assert {e.text for e in _of_class(picture, "text", "name")} == names
    bound = sum(len(part["bindings"]) for part in report["components"])
    assert len(_of_class(picture, "path", "flow")) == bound + len(report["outputs"])


def test_an_optional_input_and_its_flow_are_dashed(make_report: Any) -> None:
    picture = wiring_diagram(make_report(optional=True))
    assert len(_of_class(picture, "g", "optional")) == 1
    assert len(_of_class(picture, "path", "optional")) == 1


def test_a_decoder_runs_in_a_loop(make_report: Any) -> None:
    picture = wiring_diagram(make_report(generates=True))
    assert "token and 1 cache tensor, for each token" in _texts(picture)


def test_an_input_that_nothing_reads_is_drawn_and_said(report: dict[str, Any]) -> None:
    report["inputs"].append({"spec": {**report["inputs"][0]["spec"], "name": "unread"}})
    report["inputs"][-1]["modality"] = "tensor"
    picture = wiring_diagram(report)
    assert "unread" in _texts(picture)
    assert "input unread is not read by any component" in picture


def test_sizes_are_drawn_to_one_scale(report: dict[str, Any]) -> None:
    bars = _of_class(size_plot(report), "rect", "bar")
    widths = [float(bar.get("width", "0")) for bar in bars]
    # The checkpoint, two parts for each of three engines, two for all of them.
    assert len(bars) == 1 + 2 * 3 + 2
    checkpoint, engine, engines = widths[0], sum(widths[1:3]), sum(widths[-2:])
    assert checkpoint / engines == pytest.approx(1320 / 6000, rel=1e-3)
    assert engine / engines == pytest.approx(2000 / 6000, rel=1e-3)


@given(st.text(max_size=80), st.floats(min_value=20, max_value=400))
def test_shortened_text_keeps_both_ends_and_fits(text: str, width: float) -> None:
    shown = svg.shorten(text, width, 11)
    room = max(3, int(width / (svg.CHARACTER_WIDTH * 11)))
    assert len(shown) <= max(room, 3)
    assert shown == text or (text.startswith(shown[0]) and text.endswith(shown[-1]))


@given(st.text(max_size=40))
def test_any_text_gives_well_formed_svg(text: str) -> None:
    root = svg.picture(10, 10, name="p", title=text, description=text)
    svg.add(root, "text", text, class_=text)
    ElementTree.fromstring(svg.to_markup(root))
