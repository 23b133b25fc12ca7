"""Checkpoints whose attentions are given to the plugin, verified through its function body."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmedge.attention_facts import attention_facts
from mmedge.pipeline import Compiled, compile_project

Checkpoint = Callable[[str], Path]


def with_heads(source: Path, directory: Path, heads: dict[str, int]) -> Path:
    """The checkpoint with other numbers of heads, of which weights do not depend.

    The zoo's heads are smaller than any kernel. heads: part of the config ("" for all) -> heads.
    """
    shutil.copytree(source, directory)
    config = json.loads((directory / "config.json").read_text())
    for part, number in heads.items():
        (config[part] if part else config)["num_attention_heads"] = number
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def compiled(path: Path, tmp_path: Path, **settings: Any) -> Compiled:
    torch.set_num_threads(1)
    return compile_project(
        path,
        output=tmp_path / "it.mmedge",
        cache=tmp_path / "cache",
        threads=1,
        precision="fp16",
        optimization_level=0,
        measure_seconds=0,
        **settings,
    )


@pytest.mark.slow
def test_clip_with_the_plugin_in_its_engines(checkpoint: Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    heads = {"text_config": 2, "vision_config": 1}
    path = with_heads(checkpoint("clip"), tmp_path / "clip", heads)
    made = compiled(path, tmp_path, target="rtx-3060-12g", attention="plugin")
    plans = made.manifest.plans["rtx-3060-12g"]
    assert plans["vision_model"].plugins == plans["text_model"].plugins
    assert plans["vision_model"].plugins == ("mmedge::FusedAttention:1",)
    assert plans["similarity"].plugins == ()
    facts = attention_facts(made.bundle, made.manifest)
    assert {block["treatment"] for block in facts["blocks"]} == {"plugin"}
    modules = {module for block in facts["blocks"] for module in block["modules"]}
    assert modules == {
        f"{tower}.encoder.layers.{layer}.self_attn"
        for tower in ("text_model", "vision_model")
        for layer in (0, 1)
    }


@pytest.mark.slow
def test_a_padding_mask_in_an_old_opset_on_a_jetson(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A bias, for which the table prefers the plugin to TensorRT 10.3."""
    path = with_heads(checkpoint("visual_bert"), tmp_path / "bert", {"": 1})
    made = compiled(path, tmp_path, target="jetson-orin-nano-8")
    facts = attention_facts(made.bundle, made.manifest)
    assert {block["treatment"] for block in facts["blocks"]} == {"plugin"}
    assert "10.3" in facts["blocks"][0]["why"]
    assert {e["how"] for block in facts["blocks"] for e in block["engines"]} == {
        "as the plugin's function of ONNX operators"
    }
