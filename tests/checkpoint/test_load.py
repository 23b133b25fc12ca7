from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file, save_model

from mmedge.checkpoint.formats import Format
from mmedge.checkpoint.load import checkpoint_hash, load_model
from mmedge.errors import CheckpointError, ProjectError, UntrustedPickleError
from mmedge.project import Project

MakeProject = Callable[..., Project]
Example = tuple[torch.Tensor, torch.Tensor]


def test_factory_and_safetensors(
    directory: Path, make_project: MakeProject, model: torch.nn.Module, example: Example
) -> None:
    save_model(model, str(directory / "w.safetensors"))
    loaded = load_model(make_project("w.safetensors", width=4))
    assert loaded.format is Format.SAFETENSORS
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert torch.equal(loaded.model(*example), model(*example))
    content = (directory / "w.safetensors").read_bytes()
    assert loaded.sha256 == hashlib.sha256(content).hexdigest()
    assert loaded.record.parameters == sum(p.numel() for p in model.parameters())


def test_training_checkpoint_of_a_wrapped_half_precision_model(
    directory: Path, make_project: MakeProject, model: torch.nn.Module
) -> None:
    state = {
        f"module.{name}": tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    torch.save({"state_dict": state, "epoch": 1}, directory / "w.pt")
    record = load_model(make_project("w.pt")).record
    assert len(record.notes) == 2
    assert record.converted["head.weight"] == "float16 -> float32"


def test_weights_that_do_not_fit_the_factory(
    directory: Path, make_project: MakeProject, model: torch.nn.Module
) -> None:
    save_file(model.state_dict(), directory / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"head.weight: found \[3, 8\], expected \[3, 10\]"):
        load_model(make_project("w.safetensors", width=5))


def test_pickled_module_only_when_trusted(
    directory: Path, make_project: MakeProject, model: torch.nn.Module, example: Example
) -> None:
    torch.save(model, directory / "m.pt")
    for factory in ("", "tiny_model:build"):
        project = make_project("m.pt", factory)
        with pytest.raises(UntrustedPickleError, match=r"tiny_model\.TinyVQA"):
            load_model(project)
        loaded = load_model(project, trust_pickle=True)
        assert torch.equal(loaded.model(*example), model(*example))
        assert any("pickled model" in note for note in loaded.record.notes)


def test_trusted_pickle_with_nan_weights(
    directory: Path, make_project: MakeProject, model: torch.nn.Module
) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    torch.save(model, directory / "m.pt")
    with pytest.raises(CheckpointError, match="NaN"):
        load_model(make_project("m.pt", ""), trust_pickle=True)


def test_factory_that_raises_is_located(
    directory: Path, make_project: MakeProject, model: torch.nn.Module
) -> None:
    save_file(model.state_dict(), directory / "w.safetensors")
    line = 1 + (directory / "tiny_model.py").read_text().splitlines().index(
        '    raise RuntimeError(f"no width {width}")'
    )
    with pytest.raises(ProjectError) as caught:
        load_model(make_project("w.safetensors", "tiny_model:broken"))
    assert "RuntimeError" in str(caught.value)
    assert "no width 4" in str(caught.value)
    assert f"tiny_model.py:{line}" in str(caught.value)


@pytest.mark.parametrize(
    ("factory", "arguments", "said"),
    [
        ("tiny_model:build", {"widht": 4}, "(width: int = 4)"),
        ("tiny_model:not_a_model", {}, "builtins.dict"),
        ("", {}, "[model] factory"),
        ("tiny_model:nothing", {}, "nothing"),
    ],
)
def test_factories_that_make_no_model(
    directory: Path,
    make_project: MakeProject,
    model: torch.nn.Module,
    factory: str,
    arguments: dict[str, int],
    said: str,
) -> None:
    save_file(model.state_dict(), directory / "w.safetensors")
    with pytest.raises(ProjectError) as caught:
        load_model(make_project("w.safetensors", factory, **arguments))
    assert said in str(caught.value)


def test_no_checkpoint_named_or_there(make_project: MakeProject) -> None:
    with pytest.raises(ProjectError, match="names no checkpoint"):
        load_model(make_project(""))
    with pytest.raises(ProjectError, match="does not exist"):
        checkpoint_hash(make_project("gone.safetensors"))


def test_hash_follows_the_weights_and_needs_no_torch(
    directory: Path, make_project: MakeProject, model: torch.nn.Module
) -> None:
    project = make_project("w.safetensors")
    save_file(model.state_dict(), directory / "w.safetensors")
    before = checkpoint_hash(project)
    assert checkpoint_hash(project) == before
    model.state_dict()["head.bias"].add_(1)
    save_file(model.state_dict(), directory / "w.safetensors")
    assert checkpoint_hash(project) != before
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from mmedge.checkpoint.load import checkpoint_hash\n"
        "from mmedge.project import project_from_mapping\n"
        "data = {'name': 'tiny', 'model': {'weights': 'w.safetensors'}}\n"
        f"print(checkpoint_hash(project_from_mapping(Path({str(directory)!r}), data)))\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert printed.stdout.decode().strip() == checkpoint_hash(project)
