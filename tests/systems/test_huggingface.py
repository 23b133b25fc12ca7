"""Directories that `save_pretrained` wrote: init, compile, and run equal to transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmedge import runtime
from mmedge.checkpoint.describe import write_project_file
from mmedge.pipeline import compile_project

TEXT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "max_position_embeddings": 16,
    "bos_token_id": 97,
    "eos_token_id": 98,
    "pad_token_id": 1,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "image_size": 32,
    "patch_size": 8,
}


def vit() -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(**VISION, num_labels=5))


def clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16))


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """A function: model -> its directory, in shards of 40 kB."""

    def save(build: Any) -> tuple[Any, Path]:
        torch.manual_seed(0)
        model = build().eval()
        model.save_pretrained(tmp_path / "model", max_shard_size="40KB")
        return model, tmp_path / "model"

    return save


@pytest.mark.slow
@pytest.mark.parametrize("build", [vit, clip], ids=lambda build: str(build.__name__))
def test_what_init_writes_compiles_and_equals_transformers(
    build: Any, saved: Any, tmp_path: Path
) -> None:
    model, directory = saved(build)
    write_project_file(directory)
    output = tmp_path / "out.mmedge"
    compiled = compile_project(directory, output=output, threads=1, measure_seconds=0)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((3, 3, 32, 32)).astype("float32")
    inputs: dict[str, Any] = {"pixel_values": images}
    if build is clip:
        ids = rng.integers(2, 97, (3, 9))
        ids[:, -1] = TEXT["eos_token_id"]
        inputs |= {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        inputs["attention_mask"][0, 5:] = 0
    with torch.no_grad():
        wanted = model(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    with runtime.load(output, threads=1) as bundle:
        found = bundle(**inputs)
    names = ["logits"] if build is vit else ["logits_per_image", "text_embeds", "image_embeds"]
    for name in names:
        np.testing.assert_allclose(found[name], wanted[name].numpy(), atol=1e-4)
    parts = {component["name"] for component in compiled.report["components"]}
    assert parts == ({"model"} if build is vit else {"text_model", "vision_model", "fusion"})
