"""report.html of report.json."""

import json
from typing import Any


def render_html(report: dict[str, Any]) -> str:
    """placeholder while the report is drawn."""
    return "<pre>" + json.dumps(report, indent=1) + "</pre>"
