from __future__ import annotations

import io
import pickle
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from mmedge.checkpoint.formats import Format, detect
from mmedge.checkpoint.weights import read_state_dict
from mmedge.errors import CheckpointError


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.randn(5, 4, generator=generator), "a.bias": torch.zeros(5)}


def saved(**options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state(), buffer, **options)
    return buffer.getvalue()


def saved_safetensors() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_file(state(), Path(folder) / "x")
        return (Path(folder) / "x").read_bytes()


WHOLE = {
    "safetensors": saved_safetensors(),
    "zip": saved(),
    "legacy": saved(_use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (WHOLE["safetensors"], Format.SAFETENSORS),
        (WHOLE["zip"], Format.TORCH_STATE_DICT),
        (WHOLE["legacy"], Format.TORCH_LEGACY),
    ],
)
def test_content_decides_not_the_extension(
    tmp_path: Path, content: bytes, expected: Format
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert detect(path) is expected
    assert read_state_dict(path).keys() == state().keys()


def test_module_exported_program_and_directory(
    tmp_path: Path, model: torch.nn.Module, example: tuple[torch.Tensor, ...]
) -> None:
    torch.save(model, tmp_path / "m")
    assert detect(tmp_path / "m") is Format.TORCH_OBJECTS
    torch.export.save(torch.export.export(model, example), tmp_path / "m.pt2")
    assert detect((tmp_path / "m.pt2").rename(tmp_path / "other")) is Format.EXPORTED_PROGRAM
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        detect(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert detect(tmp_path) is Format.HUGGING_FACE


def test_torchscript_is_refused_with_the_way_out(
    tmp_path: Path, model: torch.nn.Module, example: tuple[torch.Tensor, ...]
) -> None:
    torch.jit.trace(model, example).save(tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"TorchScript(.|\n)*re-export .* torch.export"):
        detect(tmp_path / "m.pt")


@pytest.mark.parametrize("kind", sorted(WHOLE))
@given(data=st.data())
def test_any_truncation_is_a_checkpoint_error(kind: str, data: st.DataObject) -> None:
    whole = WHOLE[kind]
    length = data.draw(st.integers(0, len(whole) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            read_state_dict(path)
    assert str(length) in str(caught.value), "the error tells the size found"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"# notes\nlr = 1e-3\n", "# notes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"GGUF\x03\x00\x00\x00" + bytes(40), "GGUF"),
        (b"<html>404</html>", "failed download"),
        (pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
    ],
)
def test_foreign_files_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        detect(tmp_path / "weights.pt")
    assert said in str(caught.value)
    assert "safetensors" in str(caught.value), "what is accepted is said"


def test_other_zip_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("folder/readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"readme\.txt"):
        detect(tmp_path / "m.pt")


def test_absent_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        detect(tmp_path / "nothing.pt")
