"""What a checkpoint is expected to take, from its header."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmedge.checkpoint.demand import GRAPHS, OVERHEAD_BYTES, Demand, demand
from mmedge.errors import CheckpointError

COUNT = 1000
STATE = {"weight": torch.zeros(COUNT)}


def directory(path: Path, dtype: torch.dtype = torch.float32) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    state = {name: tensor.to(dtype) for name, tensor in STATE.items()}
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    return path


def beyond_overhead(found: Demand) -> tuple[int, int, int, int]:
    """In weights of four bytes each."""
    sizes = (found.held - OVERHEAD_BYTES, found.mapped, found.cache, found.bundle)
    assert all(size % (4 * COUNT) == 0 for size in sizes)
    return tuple(size // (4 * COUNT) for size in sizes)  # type: ignore[return-value]


def test_a_hugging_face_directory_is_mapped(tmp_path: Path) -> None:
    found = demand(directory(tmp_path / "model"))
    assert beyond_overhead(found) == (1, 1, GRAPHS, 1)
    assert found.peak == found.held + found.mapped


def test_half_precision_counts_as_float32_and_takes_a_working_copy(tmp_path: Path) -> None:
    found = demand(directory(tmp_path / "model", torch.bfloat16))
    assert beyond_overhead(found) == (1, 1, GRAPHS + 1, 1)


def test_weights_of_a_factory_are_in_memory(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "weights.safetensors")
    assert beyond_overhead(demand(tmp_path / "weights.safetensors")) == (2, 1, GRAPHS, 1)


def test_a_pickle_is_taken_by_its_size(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(STATE, file)
    found = demand(file)
    assert found.held == OVERHEAD_BYTES + 2 * file.stat().st_size
    assert found.cache == GRAPHS * file.stat().st_size


def test_what_an_adapter_changes_is_in_memory(tmp_path: Path) -> None:
    base = demand(directory(tmp_path / "base"))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "../base"}))
    factors = {"base_model.model.a.lora_A.weight": torch.zeros(2, 5)}
    factors["base_model.model.a.lora_B.weight"] = torch.zeros(7, 2)
    save_file(factors, adapter / "adapter_model.safetensors")
    found = demand(adapter)
    assert found.held - base.held == 4 * 7 * 5
    assert (found.mapped, found.cache) == (base.mapped, base.cache)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    file = directory(tmp_path / "model") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        demand(tmp_path / "model")
