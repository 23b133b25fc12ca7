"""What a target's TensorRT refuses is found in the graph: all of it, with names and advice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from mmedge.backends.tensorrt.check import check_graphs, unsupported_nodes
from mmedge.errors import BuildError
from mmedge.graph.provenance import MODULE_PATH
from mmedge.pipeline import compile_project
from mmedge.targets import TensorRTSettings

ORIN = TensorRTSettings("tensorrt", "10.3", "8.7")
THOR = TensorRTSettings("tensorrt", "10.16", "11.0")
RTX = TensorRTSettings("tensorrt_rtx", "1.7", "8.6")


def graph(text: str, *, opset: int = 18, paths: dict[str, str] | None = None) -> ir.Model:
    header = f'<ir_version: 10, opset_import: ["" : {opset}]>'
    model = ShapeInferencePass()(ir.from_onnx_text(f"{header} g {text}")).model
    for node in model.graph:
        node.metadata_props[MODULE_PATH] = (paths or {}).get(node.op_type, "")
    return model


def whys(text: str, settings: TensorRTSettings, **options: Any) -> list[str]:
    found = unsupported_nodes(graph(text, **options), settings)
    return [f"{node.operator}: {node.why}" for node in found]


PLAIN = "(float[n, 8] x, float[8, 4] w) => (float[n, 4] y) { m = MatMul(x, w) y = Relu(m) }"
TWO = """(float[n, 8] x, float[n] z) => (int64[2, k] y, float[u] o)
    { y = NonZero(x) o = Unique(z) }"""


def test_a_graph_that_is_taken_has_nothing_to_say() -> None:
    assert whys(PLAIN, ORIN) == whys(PLAIN, RTX) == []


def test_all_that_is_refused_is_told_at_once_with_modules(tmp_path: Path) -> None:
    paths = {"NonZero": "encoder.sparse", "Unique": "head.labels"}
    first, second = tmp_path / "encoder.onnx", tmp_path / "head.onnx"
    ir.save(graph(TWO, paths=paths), first)
    ir.save(graph(TWO.replace("Unique", "Sign"), paths={"NonZero": "pool"}), second)
    with pytest.raises(BuildError) as caught:
        check_graphs({"encoder": first, "head": second}, RTX, target="my-gpu")
    text = str(caught.value)
    for part in ("TensorRT for RTX 1.7", "'my-gpu'", "encoder: NonZero in encoder.sparse"):
        assert part in text
    assert "encoder: Unique in head.labels: the operator is not taken" in text
    assert "head: NonZero in pool" in text
    assert text.count("with a mask") == 1


def test_many_modules_with_one_complaint_are_one_line(tmp_path: Path) -> None:
    nodes = " ".join(f"y{i} = NonZero(x)" for i in range(9))
    outputs = ", ".join(f"int64[1, k{i}] y{i}" for i in range(9))
    model = graph(f"(float[n] x) => ({outputs}) {{ {nodes} }}")
    for index, node in enumerate(model.graph):
        node.metadata_props[MODULE_PATH] = f"layers.{index}"
    assert len(unsupported_nodes(model, RTX)) == 9
    ir.save(model, tmp_path / "g.onnx")
    with pytest.raises(BuildError) as caught:
        check_graphs({"g": tmp_path / "g.onnx"}, RTX, target="t")
    (line,) = str(caught.value.details["found"]).splitlines()
    assert "layers.0, layers.1" in line
    assert "and 3 more" in line


def test_the_same_file_may_be_taken_by_one_version_and_refused_by_another() -> None:
    text = """(float[b, 2, s, 64] q, float[b, 2, s, 64] k) => (float[b, 2, s, 64] y)
        { y = Attention(q, k, k) }"""
    assert whys(text, THOR, opset=23) == []
    assert whys(text, ORIN, opset=23) == [
        "opset 23: opset 9 to 20 is parsed",
        "Attention: the operator is not taken",
    ]


def test_an_opset_that_is_too_new_says_which_one_is_not() -> None:
    (found,) = unsupported_nodes(graph(PLAIN, opset=21), ORIN)
    assert (found.operator, found.hint) == ("opset 21", "--opset 20")


REFUSED = {
    "nonpad_kv_seqlen is dropped without a word": """(float[b, 2, s, 64] q, int64[b] n) =>
        (float[b, 2, s, 64] y) { h = Neg(q) y = Attention(q, h, h, , , , n) }""",
    "no mask together with is_causal": """(float[b, 2, s, 64] q, bool[s, s] m) =>
        (float[b, 2, s, 64] y) { h = Neg(q) y = Attention<is_causal = 1>(q, h, h, m) }""",
    "no past keys and values": """(float[b, 2, s, 64] q, float[b, 2, p, 64] k) =>
        (float[b, 2, s, 64] y) { h = Neg(q) y = Attention(q, h, h, , k, k) }""",
    "no softcap": """(float[b, 2, s, 64] q) => (float[b, 2, s, 64] y)
        { h = Neg(q) y = Attention<softcap = 5.0>(q, h, h) }""",
}


@pytest.mark.parametrize("settings", [THOR, RTX], ids=["tensorrt", "rtx"])
@pytest.mark.parametrize("why", REFUSED)
def test_attention_is_refused_what_the_parser_drops_or_has_not(
    why: str, settings: TensorRTSettings
) -> None:
    (found,) = whys(REFUSED[why], settings, opset=24)
    assert why in found


def test_attributes_at_their_default_are_no_finding() -> None:
    text = """(float[b, 2, s, 64] q, bool[s, s] m) => (float[b, 2, s, 64] y)
        { h = Neg(q) y = Attention<is_causal = 0, softcap = 0.0>(q, h, h, m) }"""
    assert whys(text, RTX, opset=24) == []


def test_types_are_those_of_the_operator() -> None:
    text = "(bool[n, m] x, bool[n, m] z) => (bool[n, m] y) { y = Equal(x, z) }"
    (found,) = whys(text, ORIN)
    assert found.startswith("Equal: bool is not taken, float")
    assert whys(text, RTX) == []


def test_number_formats_are_those_of_the_gpu() -> None:
    text = """(float[2, 2] x) => (float[2, 2] y)
        <float8e4m3fn[2, 2] q = {1, 2, 3, 4}, float s = {0.1}>
        { w = DequantizeLinear(q, s) y = MatMul(x, w) }"""
    ada = TensorRTSettings("tensorrt_rtx", "1.7", "8.9")
    assert whys(text, ada, opset=21) == []
    assert whys(text, RTX, opset=21) == [
        "DequantizeLinear: float8e4m3fn needs compute capability 8.9, not 8.6"
    ]


@pytest.mark.parametrize(("zero", "refused"), [(0, False), (3, True)])
def test_only_symmetric_quantization_is_taken(zero: int, refused: bool) -> None:
    text = f"""(float[n, 8] x) => (float[n, 8] y) <float s = {{0.1}}, int8 z = {{{zero}}}>
        {{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }}"""
    for settings in (ORIN, RTX):
        assert len(whys(text, settings)) == 2 * refused


def test_bodies_of_control_flow_are_looked_at() -> None:
    text = """(float[2] x, bool c) => (int64[1, k] y) { y = If (c)
        <then_branch = t () => (int64[1, k] p) { p = NonZero(x) },
         else_branch = e () => (int64[1, k] q) { q = NonZero(x) }> }"""
    assert len(whys(text, RTX)) == 2


def compiled(
    source: Path, folder: Path, target: str, cache: Path | None = None, **settings: Any
) -> list[Path]:
    """The graphs of a bundle for `target`."""
    bundle = compile_project(
        source,
        output=folder / "out.mmedge",
        target=target,
        cache=cache,
        threads=1,
        measure_seconds=0,
        **settings,
    ).bundle
    return sorted(bundle.rglob("*.onnx"))


def test_a_bundle_for_orin_has_graphs_that_its_tensorrt_parses(
    write_project: Any, tmp_path: Path
) -> None:
    graphs = compiled(write_project(tmp_path / "p", "tiny"), tmp_path, "jetson-orin-nano-8")
    assert [unsupported_nodes(path, ORIN) for path in graphs] == [[], [], []]
    assert {ir.load(path).opset_imports[""] for path in graphs} == {18}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "settings"),
    [
        ("whisper", "rtx-3060-12g", RTX),
        ("smolvlm", "jetson-orin-nano-8", ORIN),
        ("qwen2_vl", "jetson-orin-nano-8", ORIN),
        ("qwen2_vl", "rtx-3060-12g", RTX),
    ],
)
def test_decoders_and_sparse_places_are_written_as_the_target_takes_them(
    checkpoint: Any,
    shared_cache: Path,
    tmp_path: Path,
    name: str,
    target: str,
    settings: TensorRTSettings,
) -> None:
    """Rewritten graphs pass verification, which the compile does, and are taken."""
    # Of the largest pictures, the inputs and activations are more than that card has room for.
    shapes = {"patches": "8:48:4096"} if name == "qwen2_vl" else {}
    graphs = compiled(checkpoint(name), tmp_path, target, shared_cache, shapes=shapes)
    assert graphs
    assert [node for path in graphs for node in unsupported_nodes(path, settings)] == []
