"""Code that a Hugging Face directory brings: run only where it is needed and trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mmedge.checkpoint.huggingface import load_pretrained
from mmedge.checkpoint.load import checkpoint_hash, load_model
from mmedge.errors import CheckpointError
from mmedge.project import project_from_mapping

transformers = pytest.importorskip("transformers")

CONFIGURATION = """
from transformers import PreTrainedConfig


class OwnConfig(PreTrainedConfig):
    model_type = "own_kind"

    def __init__(self, width=3, **others):
        super().__init__(**others)
        self.width = width
"""
MODELING = """
from torch import nn
from transformers import PreTrainedModel

from .configuration_own import OwnConfig


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.layer = nn.Linear(config.width, 2)
        self.post_init()

    def forward(self, x):
        return self.layer(x)
"""
MAP = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a model class of its own; its code is copied to no cache of the user's."""
    modules = str(tmp_path / "modules")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", modules)
    directory = tmp_path / "own"
    directory.mkdir()
    (directory / "configuration_own.py").write_text(CONFIGURATION)
    (directory / "modeling_own.py").write_text(MODELING)
    config = {"model_type": "own_kind", "architectures": ["OwnModel"], "auto_map": MAP, "width": 3}
    (directory / "config.json").write_text(json.dumps(config))
    state = {"layer.weight": torch.ones(2, 3), "layer.bias": torch.tensor([1.0, 2.0])}
    save_file(state, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_it_is_not_run_unasked(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"modeling_own\.OwnModel(.|\n)*--trust-remote-code"):
        load_pretrained(folder)
    assert not (folder.parent / "modules").exists()


def test_it_is_run_where_it_is_trusted(folder: Path) -> None:
    model, record = load_pretrained(folder, trust_remote_code=True)
    assert model(torch.ones(1, 3)).tolist() == [[4.0, 5.0]]
    assert "trusted" in record.notes[0]


def test_the_code_is_part_of_the_checkpoint(folder: Path) -> None:
    project = project_from_mapping(folder, {"name": "own", "model": {"weights": "."}})
    before = checkpoint_hash(project)
    assert load_model(project, trust_remote_code=True).sha256 == before
    with (folder / "modeling_own.py").open("a") as stream:
        stream.write("# changed\n")
    assert checkpoint_hash(project) != before


@pytest.mark.parametrize("named", ["modeling_own.Other", "somebody/model--modeling_own.OwnModel"])
def test_code_that_is_not_in_the_directory(folder: Path, named: str) -> None:
    edit(folder, auto_map={**MAP, "AutoModel": named})
    with pytest.raises(CheckpointError, match=r"does not say where 'OwnModel' is"):
        load_pretrained(folder, trust_remote_code=True)


@pytest.mark.parametrize("trusted", [False, True])
def test_transformers_own_class_comes_first(tmp_path: Path, trusted: bool) -> None:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=8, patch_size=4,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    edit(tmp_path, auto_map={"AutoModelForImageClassification": "absent.py.Nothing"})
    model, record = load_pretrained(tmp_path, trust_remote_code=trusted)
    assert type(model) is transformers.ViTForImageClassification
    assert "own class was used instead" in record.notes[0]


@pytest.mark.parametrize("names", [None, [], "ViTModel", [3]])
def test_no_class_is_named(folder: Path, names: Any) -> None:
    edit(folder, architectures=names, auto_map=None, model_type="vit")
    with pytest.raises(CheckpointError, match=r'names no model class(.|\n)*"ViTModel"'):
        load_pretrained(folder)
