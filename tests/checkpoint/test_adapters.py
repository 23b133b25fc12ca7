"""LoRA adapter directories. The arithmetic was compared with PEFT 0.21's own merge by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mmedge.checkpoint.describe import describe, first_project_file
from mmedge.checkpoint.formats import Format
from mmedge.checkpoint.load import LoadedModel, checkpoint_hash, load_model
from mmedge.errors import CheckpointError
from mmedge.project import Project, project_from_mapping

transformers = pytest.importorskip("transformers")
RANK = 3
QUERY = "model.layers.0.self_attn.q_proj"
WRAPPED = f"base_model.model.{QUERY}"
CONFIG = {
    "peft_type": "LORA",
    "base_model_name_or_path": "../base",
    "r": RANK,
    "lora_alpha": 6,
    "target_modules": ["q_proj"],
}
Write = Callable[..., Path]


@pytest.fixture
def base(tmp_path: Path) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=24, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path / "base")
    return model


@pytest.fixture
def write(tmp_path: Path, base: Any) -> Write:
    """`write(tensors, use_rslora=True)`: an adapter directory; without tensors that of QUERY."""

    def make(tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> Path:
        directory = tmp_path / "adapter"
        directory.mkdir()
        (directory / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
        save_file(tensors or factors(), directory / "adapter_model.safetensors")
        return directory

    return make


def factors(rows: int = 16, columns: int = 16, name: str = WRAPPED) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"{name}.lora_A.weight": torch.randn(RANK, columns, generator=generator),
        f"{name}.lora_B.weight": torch.randn(rows, RANK, generator=generator),
    }


def change(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    down, up = tensors.values()
    return up @ down


def project(folder: Path) -> Project:
    return project_from_mapping(folder, {"name": "adapted", "model": {"weights": "."}})


def load(folder: Path) -> LoadedModel:
    return load_model(project(folder))


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({}, 6 / RANK),
        ({"use_rslora": True}, 6 / RANK**0.5),
        ({"alpha_pattern": {"layers.0.self_attn.q_proj": 9}}, 9 / RANK),
        ({"alpha_pattern": {"k_proj": 9, "proj": 9}}, 6 / RANK),
    ],
)
def test_the_change_is_added(write: Write, base: Any, changes: Any, scale: float) -> None:
    loaded = load(write(**changes))
    assert loaded.format is Format.ADAPTER
    assert "LoRA adapter of 1 modules" in loaded.record.notes[-1]
    for name, tensor in loaded.model.state_dict().items():
        wanted = base.state_dict()[name]
        wanted = wanted + scale * change(factors()) if name == f"{QUERY}.weight" else wanted
        torch.testing.assert_close(tensor, wanted)


def test_an_embedding_is_changed_the_other_way_round(write: Write, base: Any) -> None:
    name = "base_model.model.model.embed_tokens"
    pair = {
        f"{name}.lora_embedding_A": torch.randn(RANK, 24),
        f"{name}.lora_embedding_B": torch.randn(16, RANK),
    }
    found = load(write(pair)).model.state_dict()["model.embed_tokens.weight"]
    wanted = base.model.embed_tokens.weight + 6 / RANK * change(pair).T
    torch.testing.assert_close(found, wanted.detach())


def test_weights_saved_whole_replace_the_base_models(write: Write) -> None:
    head = torch.randn(24, 16)
    folder = write(factors() | {"base_model.model.lm_head.weight": head})
    loaded = load(folder)
    assert torch.equal(loaded.model.state_dict()["lm_head.weight"], head)
    assert "lm_head.weight" in loaded.record.notes[-1]


def test_both_directories_are_the_checkpoint(write: Write, tmp_path: Path) -> None:
    folder = write()
    hashes = {checkpoint_hash(project(folder))}
    save_file(factors(name=f"{WRAPPED}x"), folder / "adapter_model.safetensors")
    hashes.add(checkpoint_hash(project(folder)))
    config = tmp_path / "base" / "config.json"
    config.write_text(config.read_text() + " ")
    assert len({*hashes, checkpoint_hash(project(folder))}) == 3


def test_it_is_described_as_its_base(write: Write, tmp_path: Path) -> None:
    folder = write()
    summary, plain = describe(folder), describe(tmp_path / "base")
    assert (summary.tensors, summary.inputs) == (plain.tensors, plain.inputs)
    assert str(tmp_path / "base") in summary.notes[-1]
    assert "input_ids" in first_project_file(folder)


@pytest.mark.parametrize("named", ["meta-llama/Llama-2-7b", "", None, "../adapter"])
def test_a_base_that_is_not_here(write: Write, named: Any) -> None:
    folder = write(base_model_name_or_path=named)
    with pytest.raises(CheckpointError, match=r"not on this machine(.|\n)*merge_and_unload"):
        load(folder)


def test_a_base_by_its_absolute_path(write: Write, tmp_path: Path) -> None:
    load(write(base_model_name_or_path=os.fspath(tmp_path / "base")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"peft_type": None}, "None"),
        ({"use_dora": True}, "LORA use_dora"),
        ({"trainable_token_indices": [1]}, "LORA trainable_token_indices"),
    ],
)
def test_other_kinds_of_adapter(write: Write, changes: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=rf"found: +{said}\n(.|\n)*merge_and_unload"):
        load(write(**changes))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (factors(name="base_model.model.other.q_proj"), "module 'other.q_proj'"),
        (factors(name="base_model.model.model.layers"), "a ModuleList without weight"),
        (factors(rows=17), r"a change of \[17, 16\] to \[16, 16\]"),
        (factors() | {"base_model.model.extra": torch.ones(2)}, r"weight 'extra' \[2\]"),
        (dict(list(factors().items())[:1]), "do not come in pairs"),
        ({"base_model.model.lm_head.weight": torch.ones(24, 16)}, "no factor at all"),
    ],
    ids=["no module", "no weight", "shape", "unknown weight", "half a pair", "no factors"],
)
def test_an_adapter_of_another_model(write: Write, tensors: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load(write(tensors))


def test_no_safetensors_weights(write: Write) -> None:
    folder = write()
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(CheckpointError, match=r"found: +adapter_model\.bin"):
        load(folder)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_is_none(write: Write, text: str) -> None:
    folder = write()
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"adapter_config\.json cannot be read"):
        load(folder)
