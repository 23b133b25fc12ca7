"""One row of rotations for all examples runs in ONNX Runtime, and means the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from mmedge.graph.passes import ExpandRotaryCaches, run_passes
from mmedge.graph.passes.check import run_outputs

HEADER = '<ir_version: 10, opset_import: ["" : 23]>'
BODY = "c = Cos(a) s = Sin(a) y = RotaryEmbedding(x, c, s)"


def graph(angles: str) -> ir.Model:
    taken = f"float[b, 2, t, 6] x, {angles} a"
    return ir.from_onnx_text(f"{HEADER} g ({taken}) => (float[b, 2, t, 6] y) {{ {BODY} }}")


def feeds(rows: int, *, batch: int = 3, length: int = 4) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((batch, 2, length, 6)).astype("float32"),
        "a": rng.standard_normal((rows, length, 3)).astype("float32"),
    }


def reference(arrays: dict[str, Any]) -> Any:
    first, second = np.split(arrays["x"], 2, axis=-1)
    cosines, sines = np.cos(arrays["a"])[:, None], np.sin(arrays["a"])[:, None]
    turned = (first * cosines - second * sines, first * sines + second * cosines)
    return np.concatenate(turned, axis=-1)


@pytest.mark.parametrize("batch", [1, 3])
def test_one_row_turns_every_example(batch: int) -> None:
    model, (record,) = run_passes(graph("float[1, t, 3]"), [ExpandRotaryCaches()])
    assert record.what == ["expanded 1 rotation"]
    arrays = feeds(1, batch=batch)
    found = run_outputs(model, arrays, where="test")["y"]
    np.testing.assert_allclose(found, reference(arrays), atol=1e-5)


def test_onnx_runtime_still_refuses_one_row() -> None:
    """Fails when ONNX Runtime accepts it: then this pass can go."""
    with pytest.raises(Exception, match="cos_cache"):
        run_outputs(graph("float[1, t, 3]"), feeds(1), where="test")


LEFT = {
    "a row for each example": "float[b, t, 3]",
    "an unknown number of rows": "float[r, t, 3]",
}


@pytest.mark.parametrize("name", LEFT)
def test_other_rotations_are_left(name: str) -> None:
    model, (record,) = run_passes(graph(LEFT[name]), [ExpandRotaryCaches()])
    assert not record.changed
    arrays = feeds(3)
    np.testing.assert_allclose(
        run_outputs(model, arrays, where="test")["y"], reference(arrays), atol=1e-5
    )


def test_tables_that_positions_look_up_are_left() -> None:
    taken = "float[b, 2, t, 6] x, float[1, 3] c, float[1, 3] s, int64[b, t] p"
    text = f"{HEADER} g ({taken}) => (float[b, 2, t, 6] y) {{ y = RotaryEmbedding(x, c, s, p) }}"
    _, (record,) = run_passes(ir.from_onnx_text(text), [ExpandRotaryCaches()])
    assert not record.changed
