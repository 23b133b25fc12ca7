"""report.html of report.json: one file that needs nothing else, for an engineer and a manager."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmedge.optional import require
from mmedge.report import (
    attention_account,
    comparison,
    latency_rows,
    layer_account,
    native_engines,
    quantities,
    quantized,
    reproduce,
    stage_rows,
)
from mmedge.report.caveats import disturbances
from mmedge.report.latency_plot import latency_plot
from mmedge.report.size_plot import size_plot
from mmedge.report.verdict import engines_size_bytes, verdict
from mmedge.report.wiring_diagram import output_specs, wiring_diagram

TEMPLATES = Path(__file__).with_name("templates")

# Section id -> heading, in the order of the page.
SECTIONS = {
    "verdict": "Verdict",
    "input": "What went in",
    "wiring": "How it is wired",
    "stages": "What was done",
    "layers": "Every layer",
    "verification": "Is it equal?",
    "latency": "Is it faster?",
    "quantized": "In 8-bit integers",
    "native": "Engines of the target",
    "size": "Is it smaller?",
    "refused": "What was refused",
    "provenance": "Provenance",
}


def render_html(report: dict[str, Any]) -> str:
    """The report as one self-contained HTML page: no network, works without scripts.

    report: the content of report.json (`build_report`); every text in it is escaped. Raises
    MissingDependencyError without jinja2, and UndefinedError where the report lacks a part.
    """
    jinja2 = require("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _filters()
    safe: Callable[[str], Any] = require("markupsafe").Markup
    script = _text("report.js")
    page: str = environment.get_template("report.html.j2").render(
        report=report,
        sections=_sections(report),
        style=safe(_text("report.css")),
        script=safe(script),
        script_hash=_hash(script),
        **_pictures(report, safe),
        **_facts(report),
    )
    return page


def _sections(report: dict[str, Any]) -> dict[str, str]:
    """The sections that this report has something for."""
    there = {"native": report["native"], "quantized": report["quantization"]["asked"]}
    return {id: heading for id, heading in SECTIONS.items() if there.get(id, True)}


def _pictures(report: dict[str, Any], safe: Callable[[str], Any]) -> dict[str, Any]:
    """Inline SVG, escaped by the XML writer that made it."""
    whole = report["measurement"]["end_to_end"]
    latency = latency_plot(whole) if whole else None
    return {
        "wiring_svg": safe(wiring_diagram(report)),
        "size_svg": safe(size_plot(report)),
        "latency_svg": safe(latency) if latency else None,
    }


def _facts(report: dict[str, Any]) -> dict[str, Any]:
    """Everything the templates show that is more than a field of the report."""
    return {
        "verdict": verdict(report),
        "stage_rows": stage_rows.stage_rows(report),
        "pass_rows": stage_rows.pass_rows(report),
        "kept_rows": stage_rows.kept_rows(report),
        "idle_passes": stage_rows.idle_passes(report),
        "layer_rows": layer_account.layer_rows(report),
        "treatments": layer_account.treatments(report),
        "listed_parameters": layer_account.listed_parameters(report),
        "attention_rows": attention_account.attention_rows(report),
        "attention_summary": attention_account.attention_summary(report),
        "quantized_rows": quantized.quantized_rows(report),
        "operator_rows": quantized.operator_rows(report),
        "native_size_bytes": native_engines.native_size_bytes(report),
        "missing_plugin": native_engines.missing_plugin(report),
        "native_rows": native_engines.native_rows(report),
        "comparisons": _comparisons(report),
        "latency_rows": latency_rows.latency_rows(report),
        "steady_rows": latency_rows.steady_rows(report),
        "not_measured_alone": latency_rows.not_measured_alone(report),
        "disturbances": disturbances(report),
        "machine": latency_rows.machine_facts(report),
        "engines_size_bytes": engines_size_bytes(report),
        "output_specs": output_specs(report),
        "command": reproduce.compile_command(report),
        "settings": reproduce.settings(report),
    }


def _comparisons(report: dict[str, Any]) -> list[tuple[str, list[comparison.Compared]]]:
    """Heading -> rows, from what the user calls down to its parts."""
    return [
        ("End to end, against the PyTorch model", comparison.end_to_end(report)),
        ("With optional inputs absent", comparison.absent(report)),
        ("Each engine, against its PyTorch module", comparison.by_component(report)),
        ("The split itself, in PyTorch, against forward", comparison.split_check(report)),
    ]


def _filters() -> dict[str, Callable[..., str]]:
    names = ("cosine", "count", "decibels", "percent", "plural", "scientific", "size", "tensor")
    return {name: getattr(quantities, name) for name in names}


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What the page's security policy allows: this script and no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
