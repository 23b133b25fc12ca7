"""Attentions as ONNX text, in float16, fused with every check of passes on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from mmedge.graph.passes import run_passes
from mmedge.graph.provenance import MODULE_PATH, all_nodes
from mmedge.graph.rules.fuse_attention import FuseAttention, FusedBlock
from mmedge.tensors import Array

Fuse = Callable[..., tuple[ir.Model, list[FusedBlock]]]


def parse(text: str, opset: int) -> ir.Model:
    header = f'<ir_version: 10, opset_import: ["" : {opset}]>'
    model = ShapeInferencePass()(ir.from_onnx_text(f"{header} g {text.strip()}")).model
    for node in all_nodes(model):
        node.metadata_props[MODULE_PATH] = "encoder.attention"
    return model


def random_feeds(model: ir.Model, sizes: dict[str, int]) -> dict[str, Array]:
    """Numbers for every input; axes by name, those that are not named have 2."""
    generator = np.random.default_rng(0)
    feeds = {}
    for value in model.graph.inputs:
        assert value.shape is not None
        assert value.dtype is not None
        shape = [d if isinstance(d, int) else sizes.get(str(d), 2) for d in value.shape]
        kind = value.dtype.numpy()
        if kind == np.int64:
            feeds[str(value.name)] = generator.integers(1, 6, shape)
        elif kind == np.bool_:
            # Every query sees the first key: of those that see none, a model's mean of everything
            # becomes 0.
            hides = value.name == "hidden"
            feeds[str(value.name)] = generator.random(shape) < (0.3 if hides else 0.7)
            feeds[str(value.name)][..., 0] = not hides
        else:
            feeds[str(value.name)] = generator.standard_normal(shape).astype(kind)
    return feeds


@pytest.fixture(scope="session")
def fuse() -> Fuse:
    """Fuse what can be; the outputs are compared before and after on ONNX Runtime."""

    def run(
        text: str, *, opset: int = 23, use: str = "plugin"
    ) -> tuple[ir.Model, list[FusedBlock]]:
        model = parse(text, opset)
        rule = FuseAttention(lambda _features: (use, "asked for"))
        model, _ = run_passes(model, [rule], feeds=random_feeds(model, {"s": 5, "t": 5}))
        return model, rule.blocks

    return run
