"""Each promised kind of multimodal model, from its project to outputs equal to PyTorch's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmedge import runtime
from mmedge.graph import files
from mmedge.project import Project
from mmedge.runtime.bundle import Bundle
from mmedge.tensors import Array
from mmedge.verify.golden import check_golden

# What ids may be in every model's vocabulary.
IDS = 8


@dataclass(frozen=True)
class Kind:
    """What is expected of one project. `sizes`: axis -> size, besides the batch."""

    folder: str
    components: dict[str, str]
    outputs: tuple[str, ...]
    file: str = "mmedge.toml"
    batch: tuple[str, ...] = ("batch",)
    sizes: tuple[dict[str, int], ...] = field(default=({},))


KINDS = (
    Kind(
        "lstm_resnet_vqa",
        {"question_encoder": "text", "image_encoder": "image", "fusion": "multimodal"},
        ("answer_logits",),
        sizes=({"words": 1}, {"words": 13}),
    ),
    Kind(
        "rnn_conv_two_outputs",
        {"rnn": "text", "conv": "image", "heads": "multimodal"},
        ("answer", "category"),
        sizes=({"words": 1}, {"words": 40}),
    ),
    Kind(
        "weighted_sum_fusion",
        {"text_encoder": "text", "image_encoder": "image", "fusion": "multimodal"},
        ("probabilities",),
        sizes=({"height": 8, "width": 33}, {"height": 64, "width": 9}),
    ),
    Kind(
        "structure_fusion",
        {
            "image_branch": "image",
            "sequence_branch": "tensor",
            "trunk": "multimodal",
            "output": "multimodal",
        },
        ("logits",),
        sizes=({"steps": 5}, {"steps": 40}),
    ),
    Kind(
        "decision_fusion",
        {"image_head": "image", "audio_head": "audio", "text_head": "text", "vote": "multimodal"},
        ("mean", "weighted", "most_confident", "decision"),
    ),
    Kind(
        "decision_fusion",
        {"model": "multimodal"},
        ("mean", "weighted", "most_confident", "decision"),
        file="exported.toml",
    ),
    Kind(
        "missing_modality_learned",
        {
            "image_encoder": "image",
            "audio_encoder": "audio",
            "text_encoder": "text",
            "fusion": "multimodal",
        },
        ("logits",),
    ),
    Kind(
        "missing_modality_indicator",
        {"image_encoder": "image", "audio_encoder": "audio", "fusion": "multimodal"},
        ("logits",),
    ),
    Kind(
        "declared_two_tower",
        {"vision_encoder": "image", "text_encoder": "text", "similarity": "multimodal"},
        ("scores", "image_embedding"),
        batch=("images",),
        sizes=({"texts": 1}, {"texts": 7}),
    ),
    Kind(
        "plain_classifier",
        {"model": "tensor"},
        ("scores", "same_scores", "features", "class_index", "positive"),
    ),
)


@dataclass(frozen=True)
class Opened:
    """A kind, its compiled system, and the bundle as a device opens it."""

    kind: Kind
    system: Any
    bundle: Bundle

    def torch_outputs(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """The user's own forward on named arrays."""
        with torch.no_grad():
            result = self.system.model(**{k: torch.from_numpy(v) for k, v in inputs.items()})
        if isinstance(result, torch.Tensor):
            result = (result,)
        if not isinstance(result, dict):
            result = dict(zip(self.kind.outputs, result, strict=True))
        return {name: result[name].numpy() for name in self.kind.outputs}

    def check(self, inputs: dict[str, Array]) -> None:
        """The bundle gives what the model gives."""
        assert_equal(self.bundle(**inputs), self.torch_outputs(inputs))


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind.folder}/{kind.file}")
def opened(request: pytest.FixtureRequest, compile_system: Callable[..., Any]) -> Iterator[Opened]:
    kind: Kind = request.param
    system = compile_system(kind.folder, kind.file)
    with runtime.load(system.compiled.bundle, threads=1) as bundle:
        yield Opened(kind, system, bundle)


def kind_named(name: str) -> pytest.MarkDecorator:
    """Run a test on the kinds of one folder only."""
    chosen = [kind for kind in KINDS if kind.folder == name]
    return pytest.mark.parametrize("opened", chosen, indirect=True, ids=lambda k: k.file)


def random_inputs(project: Project, sizes: dict[str, int], *, seed: int = 7) -> dict[str, Array]:
    """Every input of the project, with the named axes at `sizes`."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name, table in project.file.inputs.items():
        shape = [dim if isinstance(dim, int) else sizes[dim] for dim in table.shape]
        if table.dtype == "float32":
            made[name] = rng.standard_normal(shape).astype(np.float32)
        else:
            made[name] = rng.integers(0, 2 if table.dtype == "bool" else IDS, shape)
            made[name] = made[name].astype(table.dtype)
    return made


def assert_equal(found: dict[str, Array], wanted: dict[str, Array]) -> None:
    """The same names, dtypes, shapes and integers; floats within 1e-5 of the largest value."""
    assert list(found) == list(wanted)
    for name, reference in wanted.items():
        assert found[name].dtype == reference.dtype
        assert found[name].shape == reference.shape
        if reference.dtype.kind == "f":
            limit = 1e-5 * np.abs(reference).max()
            np.testing.assert_allclose(found[name], reference, rtol=0, atol=limit, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], reference, err_msg=name)


@pytest.mark.parametrize("batch", [1, 3])
def test_equals_the_model_at_every_size(opened: Opened, batch: int) -> None:
    for sizes in opened.kind.sizes:
        all_sizes = {**dict.fromkeys(opened.kind.batch, batch), **sizes}
        opened.check(random_inputs(opened.system.project, all_sizes))


def test_components_have_their_names_and_modalities(opened: Opened) -> None:
    found = {c.name: c.modality for c in opened.bundle.wiring.components}
    assert found == opened.kind.components
    assert set(opened.bundle.chosen) == set(found)


def test_every_parameter_is_accounted_for(opened: Opened) -> None:
    report = opened.system.compiled.report
    layers = [layer for part in report["components"] for layer in part["layers"]]
    layers += report["unused_layers"]
    listed = {layer["module"]: layer["parameters"] for layer in layers if layer["parameters"]}
    assert listed == {
        path: count
        for path, module in opened.system.model.named_modules()
        if (count := sum(p.numel() for p in module.parameters(recurse=False)))
    }


def test_no_weight_is_shipped_twice(opened: Opened) -> None:
    parts = opened.system.compiled.report["components"]
    shipped = sum(part["engine"]["size_bytes"] for part in parts)
    weights = sum(p.numel() * 4 for p in opened.system.model.parameters())
    graphs = 25_000 * len(parts)
    assert shipped < weights + graphs


def test_the_bundle_checks_itself_and_explains_itself(opened: Opened) -> None:
    checked = check_golden(opened.bundle)
    assert set(checked["outputs"]) == set(opened.kind.outputs)
    directory = opened.system.compiled.bundle
    assert opened.system.project.name in (directory / "report.html").read_text(encoding="utf-8")


def test_nothing_shipped_names_the_machine_that_compiled_it(opened: Opened) -> None:
    own = str(opened.system.project.directory.parent).encode()
    library = str(Path(torch.__file__).parent).encode()
    for path in opened.system.compiled.bundle.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert own not in data, path
            assert library not in data, path


def test_every_pass_was_compared_with_its_input(opened: Opened) -> None:
    for part in opened.system.compiled.report["components"]:
        changed = [item for item in part["rewrite"]["passes"] if item["changed"]]
        assert all(item["max_abs_difference"] is not None for item in changed)


@kind_named("lstm_resnet_vqa")
def test_batch_normalisation_is_folded_and_says_so(opened: Opened) -> None:
    part = next(
        part
        for part in opened.system.compiled.report["components"]
        if part["name"] == "image_encoder"
    )
    treated = {layer["module"]: layer["treatment"] for layer in part["layers"]}
    norms = [path for path in treated if ".bn" in path or path.endswith("downsample.1")]
    assert len(norms) == 20
    assert {treated[path] for path in norms} == {"folded"}


@kind_named("missing_modality_learned")
@pytest.mark.parametrize("without", [("audio",), ("text",), ("audio", "text")])
def test_a_learned_substitute_stands_in(opened: Opened, without: tuple[str, ...]) -> None:
    inputs = random_inputs(opened.system.project, {"batch": 3})
    for name in without:
        del inputs[name]
    opened.check(inputs)
    assert opened.bundle(**inputs, **dict.fromkeys(without)).keys() == {"logits"}


@kind_named("missing_modality_learned")
def test_absent_modalities_were_verified_in_every_combination(opened: Opened) -> None:
    verified = opened.system.compiled.report["verification"]["absent"]
    assert set(verified) == {"audio", "text", "audio, text"}


@kind_named("missing_modality_learned")
def test_an_absent_modality_runs_no_encoder(opened: Opened) -> None:
    inputs = random_inputs(opened.system.project, {"batch": 2})
    del inputs["audio"]
    ran: list[str] = []

    def watch(name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        ran.append(name)
        return opened.bundle.run_component(name, feeds)

    opened.bundle.run(inputs, run_component=watch)
    assert ran == ["image_encoder", "text_encoder", "fusion"]


@kind_named("missing_modality_indicator")
def test_an_indicator_is_filled_in_by_the_runtime(opened: Opened) -> None:
    inputs = random_inputs(opened.system.project, {"batch": 3})
    del inputs["has_audio"]
    present = {**inputs, "has_audio": np.ones(3, dtype=bool)}
    assert_equal(opened.bundle(**inputs), opened.torch_outputs(present))
    absent = {**inputs, "has_audio": np.zeros(3, dtype=bool)}
    del inputs["audio"]
    assert_equal(opened.bundle(**inputs), opened.torch_outputs(absent))


@kind_named("missing_modality_indicator")
def test_a_caller_says_for_each_example_what_is_present(opened: Opened) -> None:
    inputs = random_inputs(opened.system.project, {"batch": 4})
    inputs["has_audio"] = np.array([True, False, False, True])
    opened.check(inputs)
    changed = dict(inputs, audio=inputs["audio"] + 1)
    moved = opened.bundle(**changed)["logits"] - opened.bundle(**inputs)["logits"]
    assert np.abs(moved).max(axis=1).astype(bool).tolist() == [True, False, False, True]


WITHOUT_THE_COMPILER = """
import sys
for name in ("torch", "onnx", "onnx_ir", "onnxscript", "transformers"):
    sys.modules[name] = None
import numpy as np
from mmedge import runtime
with runtime.load(sys.argv[1], threads=1) as bundle, np.load(sys.argv[2]) as inputs:
    np.savez(sys.argv[3], **bundle(**inputs))
"""


@kind_named("missing_modality_learned")
def test_a_device_needs_neither_torch_nor_onnx(opened: Opened, tmp_path: Path) -> None:
    inputs = random_inputs(opened.system.project, {"batch": 3})
    del inputs["audio"]
    given, made = tmp_path / "inputs.npz", tmp_path / "outputs.npz"
    np.savez(given, **inputs)
    command = [sys.executable, "-c", WITHOUT_THE_COMPILER]
    subprocess.run([*command, opened.bundle.directory, given, made], check=True, timeout=60)
    with np.load(made) as outputs:
        assert_equal(dict(outputs), opened.torch_outputs(inputs))


@kind_named("plain_classifier")
def test_an_output_may_be_an_input_and_a_layer_may_be_unused(opened: Opened) -> None:
    inputs = random_inputs(opened.system.project, {"batch": 2})
    found = opened.bundle(**inputs)
    np.testing.assert_array_equal(found["features"], inputs["features"])
    np.testing.assert_array_equal(found["scores"], found["same_scores"])
    assert found["class_index"].dtype == np.int64
    assert found["positive"].dtype == np.bool_
    unused = opened.system.compiled.report["unused_layers"]
    assert [layer["module"] for layer in unused] == ["unused"]


def test_weights_beyond_protobufs_limit_lie_beside_the_graph(
    compile_afresh: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "INLINE_LIMIT_BYTES", 50_000)
    system = compile_afresh("missing_modality_learned")
    beside = {path.name: path.stat().st_size for path in system.compiled.bundle.rglob("*.data")}
    assert set(beside) == {"image_encoder.data", "audio_encoder.data"}
    assert beside["audio_encoder.data"] >= 4 * (200 * 128 + 128 * 64)
    inputs = random_inputs(system.project, {"batch": 3})
    with runtime.load(system.compiled.bundle, threads=1) as bundle:
        check_golden(bundle)
        wanted = system.model(**{k: torch.from_numpy(v) for k, v in inputs.items()})
        assert_equal(bundle(**inputs), {"logits": wanted.detach().numpy()})


def test_a_transformer_generates_what_its_forward_generates(
    compile_system: Callable[..., Any],
) -> None:
    system = compile_system("transformer")
    with runtime.load(system.compiled.bundle, threads=1) as bundle:
        check_golden(bundle)
        generation = bundle.wiring.generation
        assert generation is not None
        assert [c.name for c in bundle.wiring.components] == ["encoder", generation.decoder]
        for sizes in ({"batch": 1, "text_length": 2}, {"batch": 3, "text_length": 8}):
            inputs = random_inputs(system.project, sizes)
            wanted = greedy(system.model, inputs, generation.start_token_ids[0], 2, 10)
            np.testing.assert_array_equal(bundle(**inputs)["tokens"], wanted)


def greedy(
    model: torch.nn.Module, inputs: dict[str, Array], start: int, end: int, limit: int
) -> Array:
    """The whole forward again for every token; padded with 0 after the end token."""
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    tokens = torch.full((len(inputs["image"]), 1), start)
    ended = torch.zeros(len(tokens), dtype=torch.bool)
    while tokens.shape[1] <= limit and not ended.all():
        with torch.no_grad():
            chosen = model(**tensors, decoder_input_ids=tokens)[:, -1].argmax(dim=-1)
        chosen[ended] = 0
        ended |= chosen == end
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
    return tokens[:, 1:].numpy()
