"""Quantized checkpoints are named and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmedge.checkpoint.huggingface import load_pretrained
from mmedge.checkpoint.quantized import check_quantization
from mmedge.errors import CheckpointError

transformers = pytest.importorskip("transformers")
BLOCK = 16


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def in_float8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight in blocks of BLOCK x BLOCK, each with a scale of its own."""
    rows, columns = (size // BLOCK for size in weight.shape)
    blocks = weight.reshape(rows, BLOCK, columns, BLOCK)
    scale = blocks.abs().amax((1, 3)) / torch.finfo(torch.float8_e4m3fn).max
    stored = (blocks / scale[:, None, :, None]).reshape(weight.shape)
    return stored.to(torch.float8_e4m3fn), scale


def quantize(folder: Path) -> None:
    file = folder / "model.safetensors"
    state = load_file(file)
    for name in [name for name in state if "_proj" in name]:
        state[name], state[f"{name}_scale_inv"] = in_float8(state[name])
    save_file(state, file, metadata={"format": "pt"})


def test_float8_without_its_config_is_refused(llama: Path) -> None:
    quantize(llama)
    with pytest.raises(CheckpointError, match=r"does not say how(.|\n)*float8_e4m3fn"):
        load_pretrained(llama)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq, 4 bits"),
        ({"quant_method": "awq", "bits": 4}, "awq, 4 bits"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, 8 bits"),
        ({"load_in_4bit": True}, "bitsandbytes, 4 bits"),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, "torchao"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"bits": 3}, "unknown, 3 bits"),
        ("int4", "int4"),
    ],
)
def test_the_method_is_named(found: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=rf"found: +{said}\n(.|\n)*made from"):
        check_quantization({"quantization_config": found}, Path("config.json"))


@pytest.mark.parametrize("config", [{}, {"quantization_config": None}])
def test_a_plain_checkpoint_needs_no_word(config: dict[str, Any]) -> None:
    assert check_quantization(config, Path("config.json")) is None
