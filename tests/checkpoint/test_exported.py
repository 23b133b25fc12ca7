from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmedge.checkpoint.describe import describe
from mmedge.checkpoint.formats import Format
from mmedge.checkpoint.load import load_model
from mmedge.checkpoint.program_safety import OPERATOR, is_arithmetic
from mmedge.errors import CheckpointError, UntrustedPickleError
from mmedge.project import Project

MakeProject = Callable[..., Project]
Example = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture
def exported(directory: Path, model: torch.nn.Module, example: Example) -> Path:
    batch, length = torch.export.Dim("batch", min=1, max=8), torch.export.Dim("length", max=16)
    shapes = {"image": {0: batch}, "question": {0: batch, 1: length}, "weight": None}
    program = torch.export.export(model, (*example, None), dynamic_shapes=shapes)
    torch.export.save(program, directory / "m.pt2")
    return directory / "m.pt2"


def rewrite(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Write the archive again with `change(member, content)` for its members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


def edit_program(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        program = json.loads(content)
        edit(program)
        return json.dumps(program).encode()

    rewrite(path, change)


def test_exported_program_needs_no_factory(
    exported: Path, make_project: MakeProject, model: torch.nn.Module, example: Example
) -> None:
    loaded = load_model(make_project("m.pt2", ""))
    assert loaded.format is Format.EXPORTED_PROGRAM
    assert not loaded.model.training
    loaded.model.eval()
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert torch.allclose(loaded.model(*example, None), model(*example))
    assert loaded.record.notes == ()


def test_submodules_keep_their_paths_and_inputs_their_names(
    exported: Path, make_project: MakeProject, model: torch.nn.Module, example: Example
) -> None:
    loaded = load_model(make_project(exported.name, "")).model
    ours = {name for name, module in model.named_modules() if list(module.parameters())}
    assert ours <= {name for name, _ in loaded.named_modules()}
    image, question = example
    found = loaded(question=question, image=image, weight=None)
    torch.testing.assert_close(found, model(image, question))


def test_unused_factory_is_said(exported: Path, make_project: MakeProject) -> None:
    assert "factory is not used" in load_model(make_project("m.pt2")).record.notes[0]


def test_inputs_are_described(exported: Path) -> None:
    summary = describe(exported)
    assert {item.name: (item.dtype, item.shape) for item in summary.inputs} == {
        "image": ("float32", ("batch", 1, 6, 6)),
        "question": ("int64", ("batch", "length")),
    }
    assert summary.axes["batch"] == (1, 8)
    assert "head.weight" in {tensor.name for tensor in summary.tensors}


def test_training_mode_is_refused(
    directory: Path, make_project: MakeProject, model: torch.nn.Module, example: Example
) -> None:
    torch.export.save(torch.export.export(model.train(), example), directory / "m.pt2")
    with pytest.raises(CheckpointError, match=r"training mode(.|\n)*model\.eval\(\)"):
        load_model(make_project("m.pt2", ""))


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_program(exported: Path, make_project: MakeProject, kept: float) -> None:
    content = exported.read_bytes()
    exported.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(CheckpointError, match="truncated"):
        load_model(make_project("m.pt2", ""))


def add_guard(program: dict[str, Any], target: Path) -> None:
    program["guards_code"].append(f"__import__('os').mkdir({str(target)!r}) is None")


def add_shape(program: dict[str, Any], target: Path) -> None:
    size = program["graph_module"]["graph"]["tensor_values"]["image"]["sizes"][0]
    size["as_expr"]["expr_str"] = f"__import__('os').mkdir({str(target)!r}) or 2"


def add_operator(program: dict[str, Any], target: Path) -> None:
    node = program["graph_module"]["graph"]["nodes"][0]
    node["target"] = "torch.os.mkdir"


@pytest.mark.parametrize("attack", [add_guard, add_shape, add_operator])
def test_code_in_the_program_is_not_executed(
    exported: Path,
    make_project: MakeProject,
    attack: Callable[[dict[str, Any], Path], None],
) -> None:
    target = exported.parent / "created"
    edit_program(exported, lambda program: attack(program, target))
    with pytest.raises(UntrustedPickleError, match="mkdir"):
        load_model(make_project("m.pt2", ""))
    assert not target.exists()


def test_pickle_among_the_sample_inputs_is_not_executed(
    exported: Path, make_project: MakeProject, model: torch.nn.Module
) -> None:
    torch.save(model, exported.parent / "pickled")
    pickled = (exported.parent / "pickled").read_bytes()
    rewrite(exported, lambda name, content: pickled if "sample_inputs" in name else content)
    with pytest.raises(UntrustedPickleError, match="sample_inputs"):
        load_model(make_project("m.pt2", ""))


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("Symbol('s27', positive=True, integer=True)", True),
        ("2*Symbol('s1', integer=True)//3 + 1", True),
        ("L['question'].size()[0] == L['image'].size()[0]", True),
        ("Max(1, FloorDiv(s0, 2))", True),
        ("().__class__.__bases__", False),
        ("Eq('__import__(\"os\").getpid()', 1)", False),
        ("[x for x in (1,)]", False),
        ("(lambda: 1)()", False),
        ("getattr(L, 'x')", False),
        ("1 +", False),
    ],
)
def test_expressions(expression: str, allowed: bool) -> None:
    assert is_arithmetic(expression) is allowed


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("torch.ops.aten.linear.default", True),
        ("torch.ops.aten.__and__.Tensor", True),
        ("torch.ops.higher_order.cond", True),
        ("_operator.getitem", True),
        ("torch.ops.load_library", False),
        ("torch.ops.aten.__class__.__init__", False),
        ("torch.os.system", False),
        ("_operator.methodcaller", False),
    ],
)
def test_operators(target: str, allowed: bool) -> None:
    assert bool(OPERATOR.fullmatch(target)) is allowed
