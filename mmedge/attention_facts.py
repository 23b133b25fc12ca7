"""How each attention of a bundle reached its engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from mmedge.engine_facts import REPORT, read_report
from mmedge.errors import BundleError
from mmedge.report.attention_account import ONE_OPERATOR, attention_rows, attention_summary
from mmedge.runtime.manifest import Engine, Manifest

# Precisions in which TensorRT has no fused kernel of attention.
UNFUSED = ("fp32", "tf32")


def attention_facts(directory: Path, manifest: Manifest) -> dict[str, Any]:
    """Every attention block, alike ones together. BundleError where the bundle tells of none.

    The bundle's report has what the graph passes did; its manifest, which engines were made of it.
    """
    report = read_report(directory)
    try:
        rows = attention_rows(report or {})
        summary = attention_summary(report or {})
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"the bundle has no {REPORT} that tells of attention", where=directory, found=error
        ) from error
    blocks = [
        {
            "component": row.component,
            "modules": list(row.modules),
            "treatment": row.treatment,
            "why": row.why,
            "engines": [
                {"kind": engine.kind, "precision": engine.precision, "how": _how(engine, row)}
                for engine in manifest.engines.get(row.component, ())
            ],
        }
        for row in rows
    ]
    return {"summary": summary, "blocks": msgspec.to_builtins(blocks)}


def _how(engine: Engine, row: Any) -> str:
    """What the engine was given; which of its kernels it takes for that is its own affair."""
    if row.treatment == "plugin":
        native = engine.kind == "tensorrt"
        return "as our kernel, a plugin" if native else "as the plugin's function of ONNX operators"
    if row.treatment != "fused" and row.form != ONE_OPERATOR:
        return "as the operators that the model has"
    if engine.kind == "tensorrt" and engine.precision in UNFUSED:
        return "as one attention that it takes apart: no fused kernel is for float32"
    return "as one attention operator"
