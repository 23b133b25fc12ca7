from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from mmedge.checkpoint.describe import describe, first_project_file, write_project_file
from mmedge.checkpoint.first_project import project_text
from mmedge.checkpoint.formats import Format
from mmedge.checkpoint.header import TensorEntry
from mmedge.checkpoint.load import load_model
from mmedge.checkpoint.modality import guess_modality
from mmedge.checkpoint.sources import candidates
from mmedge.checkpoint.summary import CheckpointSummary, InputGuess
from mmedge.errors import CheckpointError, OutputError
from mmedge.project import MODALITIES, Project, load_project, project_from_mapping
from mmedge.strict import tomllib


def parsed(path: Path, directory: Path) -> Project:
    return project_from_mapping(directory, tomllib.loads(first_project_file(path)))


def test_first_project_is_usable_at_once(directory: Path, model: torch.nn.Module) -> None:
    save_file(model.state_dict(), directory / "w.safetensors")
    for path in (directory, directory / "w.safetensors"):
        project = parsed(path, directory)
        assert project.name == "tiny"
        assert project.file.model.factory == "tiny_model:build"
        assert list(project.file.inputs) == ["image", "question"]
        image, question = project.file.inputs.values()
        assert (image.modality, image.shape[:2]) == ("image", ("batch", 1))
        assert (question.modality, question.dtype) == ("text", "int64")
        assert "# forward also takes weight" in first_project_file(path)
        assert project.file.recipe["name"] == "submodules"
        assert project.file.recipe["components"] == ["image_encoder", "question_encoder"]
        assert load_model(project).record.tensors == len(model.state_dict())


def test_project_file_is_written_where_asked(
    directory: Path, model: torch.nn.Module, tmp_path: Path
) -> None:
    save_file(model.state_dict(), directory / "w.safetensors")
    written, text = write_project_file(directory / "w.safetensors")
    assert written == directory.resolve() / "mmedge.toml"
    assert load_model(load_project(directory)).record.tensors == len(model.state_dict())
    with pytest.raises(OutputError, match="exists"):
        write_project_file(directory)
    assert write_project_file(directory, force=True) == (written, text)
    (tmp_path / "other").mkdir()
    for output in ("other/first.toml", "other"):
        elsewhere, _ = write_project_file(directory, output=tmp_path / output)
        project = load_project(elsewhere)
        assert (project.name, project.file.model.weights) == ("tiny", "../tiny/w.safetensors")
    assert elsewhere == tmp_path.resolve() / "other" / "mmedge.toml"
    with pytest.raises(OutputError, match="there is no directory"):
        write_project_file(directory, output=tmp_path / "absent" / "mmedge.toml")
    with pytest.raises(OutputError, match=r"neither a \.toml file nor"):
        write_project_file(directory, output=tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_components_are_in_the_order_of_calls(directory: Path, model: torch.nn.Module) -> None:
    source = (directory / "tiny_model.py").read_text()
    (directory / "tiny_model.py").write_text(
        source.replace(
            "pooled = self", "words = self.question_encoder(question)\n        pooled = self"
        )
    )
    save_file(model.state_dict(), directory / "w.safetensors")
    components = parsed(directory, directory).file.recipe["components"]
    assert components == ["question_encoder", "image_encoder"]


def test_other_candidates_are_comments(directory: Path, model: torch.nn.Module) -> None:
    save_file(model.state_dict(), directory / "w.safetensors")
    text = first_project_file(directory)
    assert '# or: factory = "tiny_model:TinyVQA"' in text
    assert "not_a_model" not in text


def test_python_beside_the_checkpoint_is_not_imported(
    directory: Path, model: torch.nn.Module
) -> None:
    save_file(model.state_dict(), directory / "w.safetensors")
    (directory / "harmful.py").write_text(
        "from pathlib import Path\nfrom torch import nn\n"
        "Path(__file__).with_name('created').mkdir()\nclass Net(nn.Module): pass\n"
    )
    (directory / "invalid.py").write_text("def (")
    assert "harmful:Net" in first_project_file(directory)
    assert not (directory / "created").exists()


def test_required_arguments_are_told(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Base(nn.Module):\n    pass\n"
        "class Net(Base):\n"
        "    def __init__(self, width, *, depth):\n        self.layers = nn.Linear(width, 1)\n"
        "    def forward(self, audio):\n        return self.layers(audio)\n"
        "def get(width, depth=2):\n    net = Net(width, depth=depth)\n    return net\n"
    )
    save_file({"layers.weight": torch.ones(1, 2)}, tmp_path / "w.safetensors")
    first = candidates(tmp_path, prefixes=frozenset({"layers"}))[0]
    assert (first.reference, first.required) == ("net:get", ("width",))
    text = first_project_file(tmp_path)
    assert "# arguments = { width = ... }" in text
    assert '[inputs.audio]\nmodality = "audio"' in text


def test_functions_may_return_a_model_without_a_class(tmp_path: Path) -> None:
    (tmp_path / "edgecnn.py").write_text(
        "from torch import nn\n"
        "def size():\n    return 3\n"
        "def train(model):\n    model.train()\n"
        "def pieces():\n    return assembled()\n"
        "def build():\n    return nn.Sequential(nn.Linear(2, 1))\n"
    )
    save_file({"0.weight": torch.ones(1, 2), "0.bias": torch.ones(1)}, tmp_path / "w.safetensors")
    found = candidates(tmp_path, prefixes=frozenset({"0"}))
    assert [c.reference for c in found] == ["edgecnn:build", "edgecnn:pieces"]
    assert 'factory = "edgecnn:build"  # check' in first_project_file(tmp_path)
    assert parsed(tmp_path, tmp_path).file.model.factory == "edgecnn:build"
    source = (tmp_path / "edgecnn.py").read_text().partition("def build")[0]
    (tmp_path / "edgecnn.py").write_text(source)
    assert parsed(tmp_path, tmp_path).file.model.factory == ""
    assert '# perhaps: factory = "edgecnn:pieces"' in first_project_file(tmp_path)


def test_tensors_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ["a.weight", "layers.2.weight", "layers.10.weight", "norm.num_batches_tracked", "z"]
    state = {name: torch.ones(2) for name in names}
    state["norm.num_batches_tracked"] = torch.tensor(1)
    state["z"] = torch.ones(1, dtype=torch.float64)
    save_file(state, tmp_path / "w.safetensors")
    assert [t.name for t in describe(tmp_path / "w.safetensors").tensors] == names


@pytest.mark.parametrize(("most", "typical"), [(16, 16), (512, 32)])
def test_the_typical_length_is_not_the_smallest(most: int, typical: int) -> None:
    summary = CheckpointSummary(
        Format.HUGGING_FACE,
        size_bytes=0,
        inputs=(InputGuess("input_ids", "text", "int64", ("batch", "length")),),
        axes={"length": (2, most)},
    )
    text = project_text(summary, name="x", directory=Path("nowhere"), weights=".")
    assert f"length = {{ min = 2, opt = {typical}, max = {most} }}  # check" in text


def test_exported_program_gives_exact_inputs(
    directory: Path, model: torch.nn.Module, example: tuple[torch.Tensor, ...]
) -> None:
    shapes = {"image": {0: torch.export.Dim("n", min=1, max=8)}, "question": None, "weight": None}
    shapes["question"] = {0: shapes["image"][0]}  # type: ignore[index, assignment]
    program = torch.export.export(model, (*example, None), dynamic_shapes=shapes)
    torch.export.save(program, directory / "m.pt2")
    project = parsed(directory / "m.pt2", directory)
    assert project.file.model.factory == ""
    assert project.file.inputs["image"].shape == ("batch", 1, 6, 6)
    assert project.file.axes["batch"].max == 8
    assert load_model(project).format is Format.EXPORTED_PROGRAM


def test_untrusted_pickle_is_described_not_loaded(directory: Path, model: torch.nn.Module) -> None:
    torch.save(model, directory / "m.pt")
    text = first_project_file(directory / "m.pt")
    assert "# the pickle asks for tiny_model.TinyVQA" in text
    project_from_mapping(directory, tomllib.loads(text))


def test_no_checkpoint_or_several(directory: Path, model: torch.nn.Module) -> None:
    (directory / "notes.bin").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match="no checkpoint in the directory"):
        first_project_file(directory)
    save_file(model.state_dict(), directory / "a.safetensors")
    torch.save(model.state_dict(), directory / "b.pt")
    with pytest.raises(CheckpointError, match=r"which(.|\n)*a\.safetensors, b\.pt"):
        first_project_file(directory)


@given(
    names=st.lists(st.text(max_size=12), max_size=4),
    weights=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    shape=st.lists(
        st.integers(1, 9) | st.sampled_from(["batch", "length"]), min_size=1, max_size=3
    ),
)
def test_text_always_parses(names: list[str], weights: str, shape: list[int | str]) -> None:
    summary = CheckpointSummary(
        Format.SAFETENSORS,
        size_bytes=0,
        tensors=tuple(TensorEntry(f"{name}.w", "float32", (2,), 8) for name in names),
        objects=tuple(names),
        notes=tuple(names),
        inputs=(InputGuess("image", "image", "float32", tuple(shape)),),
    )
    text = project_text(summary, name="x", directory=Path("nowhere"), weights=weights)
    project = project_from_mapping(Path("nowhere"), tomllib.loads(text))
    assert project.file.model.weights == weights
    assert project.file.inputs["image"].shape == tuple(shape)


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("pixel_values", "image"),
        ("question", "text"),
        ("input_ids", "text"),
        ("waveform", "audio"),
        ("mel_spectrogram", "audio"),
        ("video_frames", "video"),
        ("x", "tensor"),
    ],
)
def test_modalities(name: str, modality: str) -> None:
    assert guess_modality(name) == modality
    assert modality in MODALITIES
