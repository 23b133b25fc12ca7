"""Masks that broadcast over the queries run in ONNX Runtime, and mean the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from mmedge.graph.passes import ExpandAttentionMasks, run_passes
from mmedge.graph.passes.check import run_outputs

HEADER = '<ir_version: 10, opset_import: ["" : 23]>'
QKV = "float[b, 2, t, 4] q, float[b, 2, s, 4] k, float[b, 2, s, 4] v"


def graph(mask: str, *, qkv: str = QKV, body: str = "y = Attention(q, k, v, m)") -> ir.Model:
    output = "float[b, 2, t, 4] y" if qkv == QKV else "float[b, t, 8] y"
    return ir.from_onnx_text(f"{HEADER} g ({qkv}, {mask} m) => ({output}) {{ {body} }}")


def feeds(rng: np.random.Generator, mask: np.ndarray[Any, Any]) -> dict[str, Any]:
    shapes = {"q": (2, 2, 3, 4), "k": (2, 2, 5, 4), "v": (2, 2, 5, 4)}
    arrays = {name: rng.standard_normal(s).astype("float32") for name, s in shapes.items()}
    return arrays | {"m": mask}


def reference(arrays: dict[str, Any]) -> Any:
    scores = arrays["q"] @ arrays["k"].swapaxes(-1, -2) / 2.0
    mask = arrays["m"]
    scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ arrays["v"]


@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("lead", [(2, 1), (1, 2), (2, 2), (1, 1)])
def test_the_expanded_mask_gives_the_values_of_broadcasting(
    kind: str, lead: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    shape = (*lead, 1, 5)
    mask = rng.random(shape) > 0.4 if kind == "bool" else rng.standard_normal(shape)
    mask = mask.astype(kind if kind == "bool" else "float32")
    mask[..., 0] = 1  # no row is fully masked
    model = graph(f"{kind}[{lead[0]}, {lead[1]}, 1, s]")
    model, (record,) = run_passes(model, [ExpandAttentionMasks()])
    assert record.what == ["expanded 1 mask"]
    arrays = feeds(rng, mask)
    found = run_outputs(model, arrays, where="test")["y"]
    np.testing.assert_allclose(found, reference(arrays), atol=1e-5)


def test_onnx_runtime_still_refuses_the_mask_as_it_was() -> None:
    """Fails when ONNX Runtime accepts it: then this pass can go."""
    arrays = feeds(np.random.default_rng(0), np.ones((2, 1, 1, 5), dtype=bool))
    with pytest.raises(Exception, match="inconsistent q_sequence_length"):
        run_outputs(graph("bool[2, 1, 1, s]"), arrays, where="test")


def test_three_dimensional_queries_are_read_at_their_own_axis() -> None:
    qkv = "float[b, t, 8] q, float[b, s, 8] k, float[b, s, 8] v"
    body = "y = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v, m)"
    model = graph("bool[b, 1, 1, s]", qkv=qkv, body=body)
    model, _ = run_passes(model, [ExpandAttentionMasks()])
    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {
        name: rng.standard_normal((2, n, 8)).astype("float32")
        for name, n in (("q", 3), ("k", 5), ("v", 5))
    }
    arrays["m"] = np.array([[True] * 5, [True, False, True, False, True]]).reshape(2, 1, 1, 5)
    found = run_outputs(model, arrays, where="test")["y"]
    heads = {name: arrays[name].reshape(2, -1, 2, 4).swapaxes(1, 2) for name in ("q", "k", "v")}
    wanted = reference(heads | {"m": arrays["m"]}).swapaxes(1, 2).reshape(2, 3, 8)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


LEFT = {
    "a full mask": "bool[b, 1, t, s]",
    "an unknown query axis": "bool[b, 1, u, s]",
    "a vector": "bool[s]",
}


@pytest.mark.parametrize("name", LEFT)
def test_other_masks_are_left(name: str) -> None:
    model, (record,) = run_passes(graph(LEFT[name]), [ExpandAttentionMasks()])
    assert not record.changed
    assert len(model.graph) == 1


def test_a_single_query_needs_no_expansion() -> None:
    qkv = "float[b, 2, 1, 4] q, float[b, 2, s, 4] k, float[b, 2, s, 4] v"
    text = f"{HEADER} g ({qkv}, bool[b, 1, 1, s] m) => (float[b, 2, 1, 4] y)"
    model = ir.from_onnx_text(text + " { y = Attention(q, k, v, m) }")
    _, (record,) = run_passes(model, [ExpandAttentionMasks()])
    assert not record.changed
