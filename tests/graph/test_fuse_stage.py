"""The setting `attention`, from a checkpoint to a verified bundle."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from mmedge.engine_plan import EnginePlan
from mmedge.errors import GraphError, ProjectError
from mmedge.graph.fuse_stage import Fuse, check_attention, fuse
from mmedge.graph.provenance import MODULE_PATH
from mmedge.ops.fused_attention import PLUGIN
from mmedge.targets import TensorRTSettings, load_target

RTX = TensorRTSettings("tensorrt_rtx", "1.7", "8.6")
TEXT = """<ir_version: 10, opset_import: ["" : 23]> g
  ({0}[b, s, 128] q, {0}[b, s, 128] k, {0}[b, s, 128] v) => ({0}[b, s, 128] o)
{{ o = Attention <q_num_heads = 4, kv_num_heads = 4> (q, k, v) }}"""


def model(dtype: str = "float16") -> ir.Model:
    made = ir.from_onnx_text(TEXT.format(dtype))
    for node in made.graph:
        node.metadata_props[MODULE_PATH] = "layer.attention"
    return made


@pytest.mark.parametrize(
    ("asked", "became", "why"),
    [
        ("plugin", "plugin", "--attention plugin"),
        ("builtin", "builtin", "--attention builtin"),
        ("auto", "builtin", "TensorRT fuses"),
    ],
)
def test_what_was_asked_for(asked: str, became: str, why: str) -> None:
    fused, (block,) = fuse(model(), asked, RTX)
    assert (block.module, block.became) == ("layer.attention", became)
    assert why in block.why
    assert any(node.op_type == "FusedAttention" for node in fused.graph) == (became == "plugin")


def test_what_the_kernel_cannot_take_is_never_given_to_it() -> None:
    _, (block,) = fuse(model("float"), "plugin", RTX)
    assert block.became == "builtin"
    assert "16 bits" in block.why


def test_a_plugin_for_a_target_without_engines_is_refused_early() -> None:
    with pytest.raises(ProjectError, match="'cpu' has no engines"):
        check_attention(load_target("cpu"), "plugin")
    check_attention(load_target("cpu"), "auto")
    check_attention(load_target("rtx-3060-12g"), "plugin")


def artifact(asked: str, plugins: dict[str, list[str]]) -> object:
    from mmedge.artifact import Artifact, Provenance

    block = {"module": "m.attn", "form": "f", "became": "builtin", "why": "head size 12 is odd"}
    made = Artifact(Provenance("n", "", "", {}, "t", {}))
    record = {"asked": asked, "components": {"c": [block]}, "plugins": plugins}
    return made.with_record("fuse", record)


def test_a_request_that_changed_nothing_is_an_error() -> None:
    with pytest.raises(GraphError, match="no attention") as caught:
        Fuse().ensures(artifact("plugin", {}))  # type: ignore[arg-type]
    assert "m.attn: head size 12 is odd" in str(caught.value)
    Fuse().ensures(artifact("plugin", {"c": [PLUGIN]}))  # type: ignore[arg-type]
    Fuse().ensures(artifact("auto", {}))  # type: ignore[arg-type]


def test_plans_of_different_plugins_are_different() -> None:
    plain = EnginePlan("tensorrt", "tensorrt_rtx", "fp16", ())
    assert plain.plugins == ()
    with_plugin = EnginePlan("tensorrt", "tensorrt_rtx", "fp16", (), plugins=(PLUGIN,))
    assert plain.digest() != with_plugin.digest()
