"""Small ONNX text graphs, run through one pass with every check on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from mmedge.graph.passes import PassRecord, run_passes
from mmedge.tensors import Array

Parse = Callable[[str], ir.Model]
Run = Callable[..., tuple[ir.Model, PassRecord]]


@pytest.fixture(scope="session")
def parse() -> Parse:
    """ONNX text, `(inputs) => (outputs) <weights> { nodes }`, as a model of opset 23.

    Intermediate values get the shapes and types that ONNX infers, as exporters write them.
    """

    def parse_text(text: str) -> ir.Model:
        header = '<ir_version: 10, opset_import: ["" : 23]>'
        model = ir.from_onnx_text(f"{header} g {text.strip()}")
        return ShapeInferencePass()(model).model

    return parse_text


@pytest.fixture(scope="session")
def run(parse: Parse) -> Run:
    """Run one pass on a text graph in debug mode, fed with random arrays unless some are given."""

    def run_one(
        text: str,
        graph_pass: ir.passes.PassBase,
        feeds: Mapping[str, Array] | None = None,
        **sizes: int,
    ) -> tuple[ir.Model, PassRecord]:
        model = parse(text)
        filled = {**random_feeds(model, sizes), **(feeds or {})}
        model, (record,) = run_passes(model, [graph_pass], feeds=filled)
        return model, record

    return run_one


@pytest.fixture(scope="session")
def ops() -> Callable[[ir.Model], list[str]]:
    """The operator types of the main graph in order."""
    return lambda model: [node.op_type for node in model.graph]


def random_feeds(model: ir.Model, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Array]:
    """A random array for each input; named axes are 3 long unless `sizes` says otherwise."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.inputs:
        shape = [d if isinstance(d, int) else sizes.get(str(d.value), 3) for d in value.shape or ()]
        assert value.dtype is not None
        feeds[str(value.name)] = rng.normal(size=shape).astype(value.dtype.numpy())
    return feeds
