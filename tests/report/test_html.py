"""The page, parsed: what must be there, and what must not."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from mmedge.report.html import SECTIONS, render_html

HOSTILE = "<script>alert(1)</script>\"'&"
HOSTILE_BLOCK = {"module": HOSTILE, "treatment": HOSTILE, "why": HOSTILE}
VOID = {"meta", "link", "br", "input"}


class Page(HTMLParser):
    """Tags with attributes, the text of each section, and the rows of each table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.sections: dict[str, str] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self._section = self._table = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self._section = attributes["id"] or ""
            self.sections[self._section] = ""
        elif tag == "table":
            self._table = attributes["id"] or ""
            self.rows[self._table] = []
        elif tag == "tr":
            self.rows[self._table].append([])
        elif tag in ("td", "th"):
            self.rows[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("dt", "dd", "p", "h1", "h2", "h3") and "section" in self.open:
            self.sections[self._section] += " "

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            if "section" in self.open:
                self.sections[self._section] += data
            if "td" in self.open or "th" in self.open:
                self.rows[self._table][-1][-1] += data

    def text(self, section: str) -> str:
        return " ".join(self.sections[section].split())

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _page(report: dict[str, Any]) -> Page:
    return Page(render_html(report))


def test_every_section_is_there_in_order_with_a_heading(report: dict[str, Any]) -> None:
    page = _page(report)
    expected = [section for section in SECTIONS if section not in ("native", "quantized")]
    assert list(page.sections) == expected
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {f"{section}-heading" for section in expected} <= set(ids)
    assert len(page.having("h1")) == 1
    assert not page.open


def test_everything_that_is_referred_to_is_on_the_page(report: dict[str, Any]) -> None:
    page = _page(report)
    ids = {attributes.get("id") for _, attributes in page.tags}
    for _, attributes in page.tags:
        labels = (attributes.get("aria-labelledby") or "").split()
        assert set(labels) <= ids
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids


def test_nothing_is_fetched(report: dict[str, Any]) -> None:
    html = render_html(report)
    for _, attributes in Page(html).tags:
        assert "src" not in attributes
        assert re.match(r"#|data:", attributes.get("href") or "#")
    assert not re.search(r"@import|url\((?!#)|https?://", html)
    policy = next(m for m in Page(html).having("meta") if m.get("http-equiv"))
    assert (policy["content"] or "").startswith("default-src 'none'")


def test_it_can_be_read_aloud(report: dict[str, Any]) -> None:
    page = _page(report)
    assert page.having("html")[0]["lang"] == "en"
    assert len(page.having("caption")) == len(page.having("table"))
    assert all(svg["role"] == "img" and svg["aria-labelledby"] for svg in page.having("svg"))
    assert all(heading.get("scope") for heading in page.having("th"))


def test_every_layer_is_listed(report: dict[str, Any]) -> None:
    report["unused_layers"] = [
        {**report["components"][0]["layers"][0], "module": "spare", "treatment": "unused"}
    ]
    wanted = [layer["module"] for part in report["components"] for layer in part["layers"]]
    rows = _page(report).rows["layers-table"][1:]
    assert [row[1] for row in rows] == [*wanted, "spare"]
    assert rows[0] == [
        "encoder_0", "encoder_0.linear", "Linear", "Gemm", "110", "kept",
        "no compression was asked for",
    ]  # fmt: skip


def test_every_attention_is_accounted_for(make_report: Any) -> None:
    """Those treated alike share a row, which names every module."""
    report = make_report(attends=True)
    first = report["components"][0]["rewrite"]["attention"]
    first += [
        {"module": module, "treatment": "left", "why": why}
        for module, why in (("a.0", "opset 22"), ("a.1", "opset 22"), ("", "it divides"))
    ]
    first += [{"module": "a.2", "treatment": "left", "why": "opset 22"}]
    page = _page(report)
    assert page.rows["attention-table"][1:] == [
        ["encoder_0", "3", "left", "opset 22", "a.0 … a.2a.0, a.1, a.2"],
        ["encoder_0", "1", "left", "it divides", "(the model itself)"],
        ["fusion", "1", "fused", "one Attention operator", "fusion.heads"],
    ]
    assert "1 of 5 attentions fused into one operator each. None in encoder_1." in page.text(
        "layers"
    )


def test_a_model_without_attention_says_so(report: dict[str, Any]) -> None:
    page = _page(report)
    assert "No component has attention." in page.text("layers")
    assert "attention-table" not in page.rows


@pytest.mark.parametrize(
    ("where", "section"),
    [
        (lambda r: r.update(name=HOSTILE), "verdict"),
        (lambda r: r["components"][0]["layers"][0].update(module=HOSTILE), "layers"),
        (lambda r: r["components"][0]["rewrite"].update(attention=[HOSTILE_BLOCK]), "layers"),
        (lambda r: r["components"][0].update(modality=HOSTILE), "wiring"),
        (lambda r: r["inputs"][0]["preprocess"].update({HOSTILE: HOSTILE}), "input"),
        (lambda r: r["measurement"].update(dirty=[HOSTILE]), "latency"),
        (lambda r: r["verification"]["task"].update(metric=HOSTILE), "verification"),
        (lambda r: r.update(refused=[{"what": HOSTILE, "why": HOSTILE}]), "refused"),
        (lambda r: r["provenance"]["versions"].update({HOSTILE: HOSTILE}), "provenance"),
    ],
)
def test_hostile_text_is_shown_and_not_run(
    report: dict[str, Any], where: Any, section: str
) -> None:
    where(report)
    page = _page(report)
    assert HOSTILE in page.text(section)
    assert len(page.having("script")) == 1


def test_hostile_names_in_pictures_are_text(report: dict[str, Any]) -> None:
    report["inputs"][0]["spec"]["name"] = HOSTILE
    report["components"][0]["bindings"] = {"x": HOSTILE}
    page = _page(report)
    assert "alert(1)" in page.text("wiring")
    assert len(page.having("script")) == 1


def test_differences_are_shown_with_what_was_allowed(report: dict[str, Any]) -> None:
    rows = _page(report).rows["verification-table"]
    row = next(row for row in rows if row[:2] == ["all inputs", "logits"])
    assert row[2].split() == ["✓", "within", "tolerance"]
    assert row[3:] == ["2.5×10⁻⁷", "1×10⁻⁴", "1.2×10⁻⁷", "1 − 1×10⁻¹³", "132 dB", "640"]


def test_latencies_are_shown_for_both_sides(report: dict[str, Any]) -> None:
    rows = _page(report).rows["latency-table"]
    assert rows[1][:3] == ["end to end", "engine", "2.00 ms (1.98 to 2.02)"]
    assert rows[2][:3] == ["end to end", "PyTorch eager", "8.40 ms (8.32 to 8.48)"]
    assert len(rows) == 1 + 2 * (1 + len(report["components"]))


def test_unknown_facts_are_not_available(report: dict[str, Any]) -> None:
    text = _page(report).text("latency")
    assert "frequency governor not available" in text
    assert "None" not in text


def test_an_unmeasured_report_says_so(report: dict[str, Any]) -> None:
    report["measurement"] = {"end_to_end": None, "components": {}, "dirty": [], "machine": None}
    page = _page(report)
    assert "Latency was not measured" in page.text("latency")
    assert "latency-table" not in page.rows
    assert "not measured" in page.text("verdict")


def test_a_dirty_measurement_says_why(report: dict[str, Any]) -> None:
    report["measurement"]["dirty"] = ["The CPU throttled for heat 3 times."]
    report["measurement"]["end_to_end"]["warmed_up"] = False
    page = _page(report)
    assert "throttled for heat 3 times" in page.text("verdict")
    assert "throttled for heat 3 times" in page.text("latency")
    assert "still changing when the warm-up" in page.text("latency")


def test_a_generating_model_says_how_it_generates(make_report: Any) -> None:
    page = _page(make_report(generates=True))
    assert "at most 32 new tokens" in page.text("input")
    assert "int64 [batch, length]" in page.text("input")
    assert "only as part of the whole: fusion" in page.text("latency")
    assert "Not compared." in page.text("verification")


def test_runs_without_optional_inputs_are_shown(make_report: Any) -> None:
    page = _page(make_report(optional=True))
    assert any(row[0] == "without input_0" for row in page.rows["verification-table"])
    assert "zeros stand in for encoder_0.features" in page.text("input")
    assert "No input is optional." in _page(make_report()).text("verification")


@pytest.mark.parametrize("components", [1, 8])
def test_any_number_of_components_is_shown(make_report: Any, components: int) -> None:
    page = _page(make_report(components=components))
    assert len(page.rows["components-table"]) == 1 + components


def test_nothing_refused_is_said(report: dict[str, Any]) -> None:
    assert _page(report).text("refused") == "What was refused Nothing was refused."


def test_an_incomplete_report_is_an_error_and_not_a_page_with_holes(
    report: dict[str, Any],
) -> None:
    del report["provenance"]["project_digest"]
    with pytest.raises(Exception, match="project_digest"):
        render_html(report)


def test_engines_of_the_target_are_shown(make_report: Any) -> None:
    page = _page(make_report(own_engines=True, quantized=True))
    assert list(page.sections) == list(SECTIONS)
    text = page.text("native")
    assert "tensorrt_rtx 1.7.1.116 for 8.6engines/fusion.sm86.engine" in text
    assert "batch 1:4:16" in text
    assert "512 B" in text  # what the builder said
    assert "not told" in text  # what it did not
    assert "mmedge build BUNDLE --target cpu" in text  # for the engines that are not built yet


def test_what_stays_in_float32_is_listed_with_its_reason(report: dict[str, Any]) -> None:
    report["stages"].insert(3, {**report["stages"][0], "stage": "precision"})
    report["components"][-1]["precision"] = {
        "precision": "fp16",
        "nodes": 5,
        "kept_nodes": 2,
        "casts": 1,
        "operators": {"MatMul": 5},
        "kept": [{"module": "norm", "why": "sums squares", "operators": {"ReduceMean": 2}}],
        "constants": {"bytes_before": 4000, "bytes_after": 2000, "lost": {"w": 3}},
    }
    text = _page(report).text("stages")
    assert "5 nodes in fp16, 2 kept in float32, 1 cast; constants 4.00 kB → 2.00 kB" in text
    assert "3 numbers of them became zero" in text
    assert "norm" in text
    assert "ReduceMean ×2" in text
    assert "sums squares" in text


def test_a_plugin_that_the_device_has_to_build_is_named(make_report: Any) -> None:
    report = make_report(own_engines=True)
    command = "mmedge kernels build --plugin --compute-capability 8.6"
    assert command not in render_html(report)
    for item in report["native"].values():
        item["plan"]["plugins"] = ["mmedge::FusedAttention:1"]
    assert command in render_html(report)
    (built,) = [item["engine"] for item in report["native"].values() if item["engine"]]
    for item in report["native"].values():
        item["engine"] = {**built, "plugin_files": {"plugins/libmmedge_attention.so": "x"}}
    assert command not in render_html(report)
