from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmedge.checkpoint.apply import check_finite
from mmedge.checkpoint.describe import describe, first_project_file
from mmedge.checkpoint.formats import Format
from mmedge.checkpoint.load import checkpoint_hash, load_model
from mmedge.errors import CheckpointError
from mmedge.mapped_files import mapped_files, release_clean_pages
from mmedge.project import Project, project_from_mapping
from mmedge.strict import tomllib

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def vit() -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
        num_labels=3,
    )
    return transformers.ViTForImageClassification(config).eval()


@pytest.fixture
def folder(tmp_path: Path, vit: Any) -> Path:
    vit.save_pretrained(tmp_path / "vit", max_shard_size="20KB")
    return tmp_path / "vit"


def project(folder: Path) -> Project:
    return project_from_mapping(folder, {"name": "vit", "model": {"weights": "."}})


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def edit_shard(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    shard = sorted(folder.glob("*.safetensors"))[0]
    tensors = {name: tensor.clone() for name, tensor in load_file(shard).items()}
    edit(tensors)
    save_file(tensors, shard, metadata={"format": "pt"})


def test_sharded_directory_gives_the_same_model(folder: Path, vit: Any) -> None:
    assert len(list(folder.glob("*.safetensors"))) > 1
    before = os.environ.get("HF_HUB_OFFLINE")
    loaded = load_model(project(folder))
    assert os.environ.get("HF_HUB_OFFLINE") == before
    assert loaded.format is Format.HUGGING_FACE
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    pixels = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded.model(pixels).logits, vit(pixels).logits)
    assert loaded.record.converted == {}
    assert loaded.sha256 == checkpoint_hash(project(folder))


def test_half_precision_is_converted_and_recorded(tmp_path: Path, vit: Any) -> None:
    copy.deepcopy(vit).half().save_pretrained(tmp_path)
    loaded = load_model(project(tmp_path))
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert loaded.record.converted["classifier.bias"] == "float16 -> float32"


def test_loading_prints_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(project(folder))
    assert capfd.readouterr() == ("", "")


def test_missing_shard(folder: Path) -> None:
    lost = sorted(folder.glob("*.safetensors"))[0]
    lost.unlink()
    for use in (load_model, checkpoint_hash):
        with pytest.raises(CheckpointError, match=lost.name):
            use(project(folder))


def test_config_without_weights(folder: Path) -> None:
    for file in folder.glob("model*"):
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin(.|\n)*save_pretrained"):
        load_model(project(folder))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pytorch_model.bin", "may hold code"),
        ("model-q4.gguf", "llama"),
        ("model-00001-of-00002.safetensors", "index"),
        ("notes.txt", "save_pretrained"),
    ],
)
def test_what_is_there_instead_of_weights(folder: Path, name: str, said: str) -> None:
    for file in folder.glob("model*"):
        file.unlink()
    (folder / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=rf"try: (.|\n)*{said}"):
        load_model(project(folder))


def test_a_directory_of_gguf_files(tmp_path: Path) -> None:
    (tmp_path / "model-q4.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"llama\.cpp"):
        load_model(project(tmp_path))


def test_index_that_names_absent_tensors(folder: Path) -> None:
    edit_shard(folder, lambda tensors: tensors.pop("classifier.bias"))  # type: ignore[arg-type, return-value]
    for use in (load_model, checkpoint_hash):
        with pytest.raises(CheckpointError, match=r"1 tensors(.|\n)*no classifier\.bias in"):
            use(project(folder))


def test_mixed_precision_is_computed_in_float32(folder: Path, vit: Any) -> None:
    edit_shard(folder, lambda tensors: tensors.update({"classifier.bias": torch.ones(3).half()}))
    loaded = load_model(project(folder), scratch=folder.parent / "scratch")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    count = len(vit.state_dict()) - 1
    note = f"computed in float32; stored were 1 float16, {count} float32 tensors"
    assert note in loaded.record.notes
    assert torch.equal(loaded.model.classifier.bias, torch.ones(3))
    assert list((folder.parent / "scratch").iterdir()) == []


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_weights_are_pages_of_a_file(tmp_path: Path, half: bool) -> None:
    config = transformers.ViTConfig(
        hidden_size=512, num_hidden_layers=3, num_attention_heads=2, intermediate_size=2048,
        image_size=8, patch_size=4,
    )  # fmt: skip
    model = transformers.ViTModel(config)
    (model.half() if half else model).save_pretrained(tmp_path)
    loaded = load_model(project(tmp_path))
    mapped = [m for m in mapped_files() if ".safetensors" in m.path and m.only_read]
    assert sum(m.size_bytes for m in mapped) >= 4 * loaded.record.parameters
    release_clean_pages()
    check_finite(loaded.model, loaded.model.state_dict(), where=tmp_path)


def test_truncated_shard(folder: Path) -> None:
    shard = sorted(folder.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="truncated"):
        load_model(project(folder))


def test_missing_weight_is_not_left_random(folder: Path) -> None:
    edit_shard(folder, lambda tensors: tensors.pop("classifier.bias"))  # type: ignore[arg-type, return-value]
    index = folder / "model.safetensors.index.json"
    promised = json.loads(index.read_text())
    del promised["weight_map"]["classifier.bias"]
    index.write_text(json.dumps(promised))
    with pytest.raises(CheckpointError, match=r"1 missing(.|\n)*classifier\.bias"):
        load_model(project(folder))


def test_weight_of_another_shape(folder: Path) -> None:
    edit_shard(folder, lambda tensors: tensors.update({"classifier.bias": torch.ones(5)}))
    with pytest.raises(CheckpointError, match=r"classifier\.bias: found \[5\], expected \[3\]"):
        load_model(project(folder))


def test_nan_weight(folder: Path) -> None:
    broken = {"classifier.bias": torch.full((3,), float("nan"))}
    edit_shard(folder, lambda tensors: tensors.update(broken))
    with pytest.raises(CheckpointError, match=r"classifier\.bias: 3 of 3"):
        load_model(project(folder))


def test_weight_the_model_does_not_have_is_noted(folder: Path) -> None:
    edit_shard(folder, lambda tensors: tensors.update({"extra": torch.ones(5)}))
    assert "extra" in load_model(project(folder)).record.notes[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"auto_map": {"AutoModel": "modeling_x.X"}, "architectures": ["X"]}, "modeling_x.X"),
        ({"auto_map": {"AutoModel": "modeling_x.X"}, "model_type": "x"}, "modeling_x.X"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"architectures": None}, "names no model class"),
        ({"architectures": ["NoSuchModel"]}, "NoSuchModel"),
        ({"model_type": "no_such_type"}, "no_such_type"),
    ],
)
def test_directories_that_are_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError) as caught:
        load_model(project(folder))
    assert said in str(caught.value)


def test_config_that_is_not_json(folder: Path) -> None:
    for text in ("{", "[" * 100_000, "[]"):
        (folder / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.json (cannot|is not)") as caught:
            load_model(project(folder))
        assert "save_pretrained" in str(caught.value.details["try"])


def test_first_project_of_the_directory_loads(folder: Path) -> None:
    statistics = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
    written = project_from_mapping(folder, tomllib.loads(first_project_file(folder)))
    image = written.file.inputs["pixel_values"]
    assert image.shape == ("batch", 3, 8, 8)
    assert image.preprocess["std"] == statistics["image_std"]
    assert load_model(written).format is Format.HUGGING_FACE


def test_multimodal_config(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**sizes, "intermediate_size": 16, "vocab_size": 50},
        vision_config={**sizes, "intermediate_size": 16, "image_size": 8, "patch_size": 4},
        projection_dim=8,
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    inputs = describe(tmp_path).inputs
    assert [item.name for item in inputs] == ["input_ids", "pixel_values", "attention_mask"]
    written = project_from_mapping(tmp_path, tomllib.loads(first_project_file(tmp_path)))
    assert written.file.recipe["components"] == ["text_model", "vision_model"]
    loaded = load_model(written)
    assert loaded.record.parameters == sum(p.numel() for p in loaded.model.parameters())
