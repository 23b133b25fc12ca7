from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmedge.checkpoint.describe import describe
from mmedge.checkpoint.weights import read_state_dict, read_weights
from mmedge.errors import CheckpointError, UntrustedPickleError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class CreatesFile:
    """A pickle of this, loaded without care, creates the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def check_equal(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_training_checkpoints_are_unpacked_and_noted(tmp_path: Path, key: str) -> None:
    torch.save({key: STATE, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "c.pt")
    weights = read_weights(tmp_path / "c.pt")
    check_equal(weights.tensors)
    assert f"under '{key}'" in weights.notes[0]
    assert "epoch, optimizer" in weights.notes[0]


def test_two_sets_of_weights_are_ambiguous(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "model": STATE}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="more than one set"):
        read_state_dict(tmp_path / "c.pt")


def test_wrapper_prefixes_are_removed_and_noted(tmp_path: Path) -> None:
    save_file({f"module._orig_mod.{k}": v for k, v in STATE.items()}, tmp_path / "a")
    weights = read_weights(tmp_path / "a")
    check_equal(weights.tensors)
    assert any("torch.compile" in note for note in weights.notes)
    assert any("DataParallel" in note for note in weights.notes)


def test_prefix_stays_where_the_model_has_it(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in STATE.items()}
    save_file(state, tmp_path / "a")
    assert read_weights(tmp_path / "a", names=state.keys()).tensors.keys() == state.keys()


def test_names_that_collide_without_prefix(tmp_path: Path) -> None:
    save_file({"w": torch.ones(1), "_orig_mod.w": torch.zeros(1)}, tmp_path / "a")
    with pytest.raises(CheckpointError, match="same name"):
        read_weights(tmp_path / "a")


@pytest.mark.parametrize("content", [torch.ones(2), {"epoch": 3}, {}, [1], {"a": "text"}])
def test_not_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"the file (holds a|does not hold)"):
        read_state_dict(tmp_path / "c.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_pickle_is_not_executed(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "created"
    content = {"w": torch.ones(1), "x": CreatesFile(target)}
    torch.save(content, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UntrustedPickleError, match="mkdir"):
        read_state_dict(tmp_path / "c.pt")
    assert describe(tmp_path / "c.pt").objects == ("posix.mkdir",)
    assert not target.exists()
    with pytest.raises(CheckpointError):
        read_state_dict(tmp_path / "c.pt", trust_pickle=True)
    assert target.exists(), "the same file does run once it is trusted: the test can fail"


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_module_needs_trust(tmp_path: Path, zipped: bool) -> None:
    module = torch.nn.Linear(3, 2)
    torch.save(module, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UntrustedPickleError) as caught:
        read_state_dict(tmp_path / "m.pt")
    assert "torch.nn.modules.linear.Linear" in str(caught.value)
    assert "save_model" in str(caught.value)
    assert "--trust-pickle" in str(caught.value)
    found = read_state_dict(tmp_path / "m.pt", trust_pickle=True)
    assert torch.equal(found["weight"], module.weight)


def test_trusted_pickle_of_code_that_is_not_here(tmp_path: Path) -> None:
    gone = type("Gone", (torch.nn.Linear,), {"__module__": "gone_module"})
    import sys
    import types

    sys.modules["gone_module"] = types.ModuleType("gone_module")
    sys.modules["gone_module"].Gone = gone  # type: ignore[attr-defined]
    torch.save(gone(1, 1), tmp_path / "m.pt")
    del sys.modules["gone_module"]
    with pytest.raises(CheckpointError, match="gone_module"):
        read_state_dict(tmp_path / "m.pt", trust_pickle=True)


def write_shards(folder: Path) -> Path:
    save_file({"a.weight": STATE["a.weight"]}, folder / "x-00001-of-00002.safetensors")
    save_file({"a.bias": STATE["a.bias"]}, folder / "x-00002-of-00002.safetensors")
    weight_map = {
        "a.weight": "x-00001-of-00002.safetensors",
        "a.bias": "x-00002-of-00002.safetensors",
    }
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


def test_shards_by_index_or_directory(tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    check_equal(read_state_dict(index))
    check_equal(read_state_dict(tmp_path))


def test_missing_shards_are_listed(tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    (tmp_path / "x-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 2 shards(.|\n)*x-00002"):
        read_state_dict(index)


def test_tensor_that_no_shard_holds(tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    save_file({"other": torch.ones(1)}, tmp_path / "x-00002-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=r"a\.bias"):
        read_state_dict(index)


def test_index_cannot_leave_its_directory(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(CheckpointError, match="outside"):
        read_state_dict(index)
    index.write_text("{")
    with pytest.raises(CheckpointError, match="index"):
        read_state_dict(index)


def test_describe_lists_without_reading_the_data(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a")
    torch.save(STATE, tmp_path / "b")
    from_header, from_pickle = describe(tmp_path / "a"), describe(tmp_path / "b")
    assert from_header.parameters == from_pickle.parameters == 8
    assert {t.name: (t.dtype, t.shape) for t in from_header.tensors} == {
        "a.weight": ("float32", (2, 3)),
        "a.bias": ("float32", (2,)),
    }
    assert sorted(map(str, from_header.tensors)) == sorted(map(str, from_pickle.tensors))
