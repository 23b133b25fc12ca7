"""A LoRA adapter directory, compiled as it is: the bundle computes the adapted model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmedge import runtime
from mmedge.pipeline import compile_project

RANK, ALPHA = 2, 4
PATH = "vit.layers.0.attention.q_proj"


@pytest.fixture
def base(tmp_path: Path) -> Any:
    """A model with its image processor, in `base`."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=8, patch_size=4, num_labels=3,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path / "base")
    processor = transformers.ViTImageProcessor(size={"height": 8, "width": 8})
    processor.save_pretrained(tmp_path / "base")
    return model


@pytest.fixture
def factors(base: Any, tmp_path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors A and B of the adapter in `adapter`."""
    down, up = torch.randn(RANK, 16), torch.randn(16, RANK)
    directory = tmp_path / "adapter"
    directory.mkdir()
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}
    config["base_model_name_or_path"] = "../base"
    (directory / "adapter_config.json").write_text(json.dumps(config))
    name = f"base_model.model.{PATH}"
    named = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    save_file(named, directory / "adapter_model.safetensors")
    return down, up


@pytest.mark.slow
def test_the_bundle_is_the_adapted_model(
    base: Any, factors: tuple[torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    output = tmp_path / "out.mmedge"
    compiled = compile_project(tmp_path / "adapter", output=output, threads=1, measure_seconds=0)
    assert "LoRA" in compiled.report["checkpoint"]["notes"][0]
    assert compiled.report["checkpoint"]["file"] == "../adapter"
    pixels = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
    unadapted = base(torch.from_numpy(pixels)).logits.detach().numpy()
    down, up = factors
    base.get_submodule(PATH).weight.data += ALPHA / RANK * up @ down
    wanted = base(torch.from_numpy(pixels)).logits.detach().numpy()
    with runtime.load(output) as bundle:
        found = bundle.run({"pixel_values": pixels})["logits"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(unadapted - wanted).max() > 1e-4
