"""The table of TensorRT for RTX against the library: what it takes builds, the rest does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx.parser
import onnx_ir as ir
import pytest

from mmedge.backends.tensorrt.build import build_engine
from mmedge.backends.tensorrt.builder_config import Settings
from mmedge.backends.tensorrt.check import unsupported_nodes
from mmedge.backends.tensorrt.child import Order, build_in_child
from mmedge.backends.tensorrt.limits import exceeds
from mmedge.capabilities import capabilities
from mmedge.errors import BuildError
from mmedge.runtime.tensorrt.library import find_library
from mmedge.strict import read_toml
from mmedge.targets import TensorRTSettings

pytest.importorskip("tensorrt_rtx")

# Has every number format of the table but those of fewer than 16 bits.
AMPERE = TensorRTSettings("tensorrt_rtx", "1.7", "8.6")
ADA = TensorRTSettings("tensorrt_rtx", "1.7", "8.9")
TABLE = capabilities(AMPERE)
GRAPHS = read_toml(Path(__file__).with_name("operator_graphs.toml"))
TAKEN = {name: row for row in TABLE.operators for name in row.names}
# Formats that have a scale for each block of weights; their graphs are made by `blocked`.
BLOCKED = ("int4", "float4e2m1")


def graph(text: str, kind: str) -> onnx.ModelProto:
    body = re.sub(r"\bT\b", kind, text)
    if kind in ("int32", "int64"):
        body = body.replace("fmod = 1", "fmod = 0")
    opsets = '"" : 24, "com.microsoft" : 1'
    return onnx.parser.parse_model(f"<ir_version: 10, opset_import: [{opsets}]> g {body}")


def blocked() -> onnx.ModelProto:
    """A product with weights of int4, a scale for each 64 of them."""
    make = onnx.helper
    weights = make.make_tensor("w", onnx.TensorProto.INT4, [64, 16], [1] * 1024)
    scales = make.make_tensor("s", onnx.TensorProto.FLOAT16, [1, 16], [0.5] * 16)
    ends = [("x", [4, 64]), ("y", [4, 16])]
    x, y = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT16, d) for n, d in ends]
    nodes = [
        make.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0, block_size=64),
        make.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    body = make.make_graph(nodes, "g", [x], [y], [weights, scales])
    return make.make_model(body, opset_imports=[make.make_opsetid("", 24)], ir_version=10)


def built(model: onnx.ModelProto, folder: Path, settings: TensorRTSettings = AMPERE) -> bool:
    path = folder / "model.onnx"
    onnx.save(model, path)
    library = find_library("tensorrt_rtx", purpose="testing the table")
    options = Settings(compute_capability=settings.compute_capability, optimization_level=0)
    try:
        build_engine(library, path, (), (), settings=options, label="test")
    except BuildError:
        return False
    return True


def crashes(model: onnx.ModelProto, folder: Path) -> bool:
    """Whether the library crashes on it: in a process of its own."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    order = Order(
        library="tensorrt_rtx",
        graph=str(path),
        inputs=(),
        profiles=(),
        settings=Settings(compute_capability=AMPERE.compute_capability),
        label="test",
        output=str(folder / "model.engine"),
    )
    with pytest.raises(BuildError) as caught:
        build_in_child(order, print)
    return "crashed" in caught.value.what and "SIGSEGV" in str(caught.value.details["found"])


def test_every_operator_of_the_table_has_a_graph_here() -> None:
    assert set(TAKEN) <= set(GRAPHS["operators"])


@pytest.mark.parametrize("operator", sorted(TAKEN))
def test_what_is_taken_builds_in_each_type(operator: str, tmp_path: Path) -> None:
    for kind in TAKEN[operator].types or ("float",):
        if kind in BLOCKED:
            continue
        settings = ADA if kind.startswith("float8") else AMPERE
        model = graph(GRAPHS["operators"][operator], kind)
        assert not unsupported_nodes(ir.from_proto(model), settings), kind
        assert built(model, tmp_path, settings), kind


@pytest.mark.parametrize("operator", sorted(set(GRAPHS["operators"]) - set(TAKEN)))
def test_what_is_not_taken_does_not_build(operator: str, tmp_path: Path) -> None:
    kind = "int32" if operator.startswith("Bit") else "float"
    model = graph(GRAPHS["operators"][operator], kind)
    found = unsupported_nodes(ir.from_proto(model), AMPERE)
    assert [node.why for node in found] == ["the operator is not taken"]
    assert not built(model, tmp_path)


def limited(text: str) -> list[Any]:
    """The limits that some node of the graph exceeds."""
    model = ir.from_proto(graph(text, "float"))
    return [
        limit
        for limit in TABLE.limits
        for node in model.graph
        if node.op_type in limit.operators and exceeds(node, limit)
    ]


@pytest.mark.parametrize("text", GRAPHS["limits"]["graphs"])
def test_limits_are_those_of_the_library(text: str, tmp_path: Path) -> None:
    model, limits = graph(text, "float"), limited(text)
    assert limits
    assert unsupported_nodes(ir.from_proto(model), AMPERE)
    # A silent limit is one that the library does not keep: a build that gives wrong results.
    silent = all(limit.silent for limit in limits)
    if any(limit.crashes for limit in limits):
        assert crashes(model, tmp_path)
        return
    assert built(model, tmp_path) == silent


def test_every_limit_is_met_by_every_operator_it_names() -> None:
    met = {(limit, limit.operators) for t in GRAPHS["limits"]["graphs"] for limit in limited(t)}
    assert {limit for limit, _ in met} == set(TABLE.limits)
    nodes = {n.op_type for t in GRAPHS["limits"]["graphs"] for n in graph(t, "float").graph.node}
    assert {name for limit in TABLE.limits for name in limit.operators} <= nodes


ALONE = {
    "bfloat16": graph(GRAPHS["operators"]["MatMul"], "bfloat16"),
    "int4": blocked(),
    "float8e4m3fn": graph(GRAPHS["operators"]["DequantizeLinear"], "float8e4m3fn"),
}
CAPABILITIES = ["7.5", "8.0", "8.6", "8.9", "12.0"]


@pytest.mark.parametrize("kind", ALONE)
@pytest.mark.parametrize("gpu", CAPABILITIES)
def test_number_formats_are_those_of_the_gpu(kind: str, gpu: str, tmp_path: Path) -> None:
    settings = TensorRTSettings("tensorrt_rtx", "1.7", gpu)
    found = unsupported_nodes(ir.from_proto(ALONE[kind]), settings)
    assert built(ALONE[kind], tmp_path, settings) == (not found)


NOT_LISTED = [("MatMul", "int64"), ("Add", "uint8"), ("Resize", "int64"), ("Mish", "bfloat16")]


@pytest.mark.parametrize(("operator", "kind"), NOT_LISTED)
def test_types_that_are_not_listed_do_not_build(operator: str, kind: str, tmp_path: Path) -> None:
    model = graph(GRAPHS["operators"][operator], kind)
    (found,) = unsupported_nodes(ir.from_proto(model), AMPERE)
    assert found.why.startswith(f"{kind} is not taken")
    assert not built(model, tmp_path)
