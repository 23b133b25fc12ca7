"""The page in a real browser: it shows everything, reports no error, and its script works."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mmedge.report.html import render_html

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom",
)  # fmt: skip
CLICK_PARAMETERS = """
document.querySelectorAll("#layers-table thead button")[4].click();
var filter = document.getElementById("layers-table-filter");
filter.value = "LINEAR";
filter.dispatchEvent(new Event("input"));
"""


def _open(html: str, directory: Path, *flags: str) -> tuple[str, str]:
    """The document after its scripts ran, and what the browser's console said."""
    page = directory / "report.html"
    page.write_text(html, encoding="utf-8")
    profile = f"--user-data-dir={directory / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, *flags, profile, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, "\n".join(re.findall(r".*CONSOLE.*", done.stderr))


def _column(document: str, index: int) -> list[str]:
    body = document.split('id="layers-table"')[1].split("<tbody>")[1].split("</tbody>")[0]
    shown = [row for row in body.split("<tr")[1:] if "hidden" not in row.partition(">")[0]]
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in shown]
    return [re.sub(r"<[^>]*>", "", row[index]).strip() for row in cells]


def test_the_script_makes_the_table_sortable_without_a_console_error(
    report: dict[str, Any], tmp_path: Path
) -> None:
    document, console = _open(render_html(report), tmp_path)
    assert not console
    assert document.count("<button") == 7
    assert len(_column(document, 1)) == 6


def test_the_table_is_sorted_and_filtered(report: dict[str, Any], tmp_path: Path) -> None:
    for parameters, part in zip((9, 1000, 20), report["components"], strict=True):
        part["layers"][0]["parameters"] = parameters
    html = render_html(report)
    # The page's policy runs its own script alone: a test's clicks must be part of it.
    own = html.split("<script>")[1].split("</script>")[0]
    html = html.replace("script-src 'sha256-", "script-src 'unsafe-inline' 'x-")
    html = html.replace(own, own + CLICK_PARAMETERS)
    document, console = _open(html, tmp_path)
    assert _column(document, 4) == ["9", "20", "1,000"], console
    assert 'aria-sort="ascending"' in document
    assert "3 of 6 rows" in document


def test_a_foreign_script_does_not_run(report: dict[str, Any], tmp_path: Path) -> None:
    html = render_html(report)
    foreign = "<script>document.title = 'taken over'</script></body>"
    document, console = _open(html.replace("</body>", foreign), tmp_path)
    assert "<title>taken over" not in document
    assert "Content Security Policy" in console


def test_a_phone_does_not_scroll_sideways(make_report: Any, tmp_path: Path) -> None:
    """In a frame 360 px wide: a headless window has a least width of its own."""
    inner = tmp_path / "inner.html"
    inner.write_text(render_html(make_report(components=8, name="n" * 60)), encoding="utf-8")
    measure = (
        "let e = f.contentDocument.documentElement; document.title = e.scrollWidth - e.clientWidth"
    )
    frame = '<iframe id="f" src="inner.html" style="width:360px;height:900px;border:0"></iframe>'
    html = f"<!DOCTYPE html><title></title>{frame}<script>f.onload = () => {{ {measure} }}</script>"
    document, _ = _open(html, tmp_path, "--allow-file-access-from-files")
    assert "<title>0</title>" in document
