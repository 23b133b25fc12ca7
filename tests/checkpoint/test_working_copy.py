"""The float32 working copy of a checkpoint in other precisions."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from safetensors.torch import load_file, save_file

from mmedge.checkpoint import working_copy as module
from mmedge.checkpoint.header import safetensors_header, stored_tensors
from mmedge.checkpoint.working_copy import computed_bytes, needs_widening, working_copy
from mmedge.errors import OutputError

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64, torch.bool)


def checkpoint(directory: Path, tensors: dict[str, torch.Tensor]) -> Path:
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory / "model.safetensors"


def test_every_value_is_what_torch_makes_of_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {str(dtype): (torch.randn(5, 7) * 3).to(dtype) for dtype in DTYPES}
    tensors |= {"empty": torch.empty(0, 3).half(), "scalar": torch.tensor(2.5).bfloat16()}
    file = checkpoint(tmp_path / "model", tensors)
    with working_copy(file.parent, (file,), tmp_path / "scratch") as work:
        found = load_file(work / file.name)
        assert (work / "config.json").read_text() == "{}"
        sizes = {entry.name: entry.size_bytes for entry in safetensors_header(work / file.name)}
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        wanted = tensor.float() if tensor.is_floating_point() else tensor
        assert found[name].dtype == wanted.dtype
        assert torch.equal(found[name], wanted)
    assert sizes == {t.entry.name: computed_bytes(t) for t in stored_tensors(file)}
    assert list((tmp_path / "scratch").iterdir()) == []


@given(st.integers(0, 2**16 - 1), st.sampled_from([torch.bfloat16, torch.float16]))
def test_every_half_is_exact(bits: int, dtype: torch.dtype) -> None:
    value = torch.tensor([bits], dtype=torch.int32).to(torch.uint16).view(dtype)
    raw = np.array([bits], "<u2")
    name = str(dtype).removeprefix("torch.")
    found = module._widened(raw if dtype is torch.bfloat16 else raw.view("<f2"), name)
    np.testing.assert_array_equal(found, value.float().numpy())


def test_large_tensors_are_converted_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)
    tensor = torch.randn(3, 11).half()
    file = checkpoint(tmp_path / "model", {"weight": tensor})
    with working_copy(file.parent, (file,), tmp_path) as work:
        assert torch.equal(load_file(work / file.name)["weight"], tensor.float())


def test_a_shard_in_float32_is_not_written_again(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "model", {"weight": torch.randn(3)})
    with working_copy(file.parent, (file,), tmp_path) as work:
        assert (work / file.name).samefile(file)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "model", {"weight": torch.randn(3).half()})
    (tmp_path / "scratch").write_text("a file")
    with (
        pytest.raises(OutputError, match="a file"),
        working_copy(file.parent, (file,), tmp_path / "scratch"),
    ):
        pass


@pytest.mark.parametrize(
    ("dtypes", "needed"),
    [(["float32"], False), (["float32", "bfloat16"], True), (["int64"], False), ([], False)],
)
def test_only_other_floats_need_it(dtypes: list[str], needed: bool) -> None:
    assert needs_widening(dtypes) is needed
