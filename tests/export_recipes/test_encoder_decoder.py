"""The recipe's two halves against the whole model, in torch and as ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmedge_export.encoder_decoder import recipe
from torch import Tensor, nn

from mmedge.errors import ProjectError
from mmedge.graph.export import _translating
from mmedge.project import Project, load_project
from mmedge.recipes import ComponentModule, Split
from mmedge.wiring import Generation

SYSTEM = Path(__file__).parents[1] / "systems" / "transformer"
Step = Callable[[dict[str, Tensor]], dict[str, Tensor]]
VARIANTS: list[dict[str, Any]] = [
    {"norm_first": True, "batch_first": False, "activation": "relu"},
    {"norm_first": False, "batch_first": True, "activation": "gelu", "positions": "sinusoidal"},
    {"norm_first": False, "batch_first": False, "activation": "relu", "mask_padding": True},
    {"norm_first": True, "bias": False, "embedding_scale": 5.6, "mask_padding": True},
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project(SYSTEM)


@pytest.fixture(scope="module")
def trained(project: Project) -> nn.Module:
    model = project.load_callable("model:build")()
    model.load_state_dict(safetensors.torch.load_file(SYSTEM / "weights.safetensors"))
    return model


def examples(project: Project, count: int, seed: int = 3) -> tuple[dict[str, Tensor], list[str]]:
    drawn = project.load_callable("data:draw")(count, seed)
    names = project.file.inputs
    inputs = {n: torch.from_numpy(np.stack([given[n] for given, _ in drawn])) for n in names}
    return inputs, [words for _, words in drawn]


def split(project: Project, model: nn.Module, **changes: object) -> Split:
    options = {key: v for key, v in project.file.recipe.items() if key != "name"} | changes
    return recipe.split(model, project, options, examples(project, 2)[0])


def variant(project: Project, arguments: dict[str, Any]) -> tuple[nn.Module, Split]:
    """A model with random weights, large enough that it does not say the same to everything."""
    torch.manual_seed(0)
    model = project.load_callable("model:build")(**arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.7)
    table = "waves" if arguments.get("positions") == "sinusoidal" else "position_embedding.weight"
    changes = {
        "position_embedding": table,
        "embedding_scale": arguments.get("embedding_scale", 1.0),
        "end_token_ids": [2, 5],
    }
    return model, split(project, model, **changes)


@pytest.fixture(scope="module", params=[{}, *VARIANTS], ids=str)
def built(request: pytest.FixtureRequest, project: Project) -> tuple[nn.Module, Split]:
    return variant(project, request.param)


def eager(component: ComponentModule, order: tuple[str, ...]) -> Step:
    """The component as a function of named tensors."""

    def run(feeds: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            made = component.module(*[feeds[name] for name in order])
        return dict(zip(component.outputs, made, strict=True))

    return run


def steps(parts: Split) -> tuple[Step, Step]:
    encoder, decoder = parts.components
    ordered = (*decoder.bindings, *parts.decoder_examples)
    return eager(encoder, tuple(encoder.bindings)), eager(decoder, ordered)


def encode(parts: Split, encoder: Step, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the decoder's bindings ask for, and an empty past."""
    made = {f"encoder.{name}": tensor for name, tensor in encoder(inputs).items()}
    feeds = {name: made[source] for name, source in parts.components[1].bindings.items()}
    batch = len(next(iter(inputs.values())))
    for name in parts.generation.cache:
        _, heads, _, size = parts.decoder_examples[name].shape
        feeds[name] = torch.zeros(batch, heads, 0, size)
    return feeds


def advance(generation: Generation, feeds: dict[str, Tensor], made: Mapping[str, Tensor]) -> None:
    feeds.update({past: made[present] for past, present in generation.cache.items()})


def generate(parts: Split, encoder: Step, decoder: Step, inputs: dict[str, Tensor]) -> Tensor:
    """Greedy generation with the cache, row by row as one would on paper."""
    generation = parts.generation
    feeds = encode(parts, encoder, inputs)
    batch = len(next(iter(inputs.values())))
    rows: list[list[int]] = [[] for _ in range(batch)]
    tokens = torch.tensor([generation.start_token_ids] * batch)
    for _ in range(generation.max_new_tokens):
        made = decoder({**feeds, generation.token_input: tokens})
        advance(generation, feeds, made)
        best = made[generation.logits_output][:, -1].argmax(dim=-1).tolist()
        for row, token in zip(rows, best, strict=True):
            over = any(t in generation.end_token_ids for t in row)
            row.append(generation.pad_token_id if over else token)
        if all(any(t in generation.end_token_ids for t in row) for row in rows):
            break
        tokens = torch.tensor([[row[-1]] for row in rows])
    return torch.tensor(rows)


def test_the_trained_model_says_what_it_sees_and_hears(
    project: Project, trained: nn.Module
) -> None:
    parts = split(project, trained)
    inputs, words = examples(project, 16)
    ids = project.load_callable("data:ids")
    longest = max(len(ids(w)) for w in words)
    expected = [ids(w) + [0] * (longest - len(ids(w))) for w in words]
    assert parts.reference(inputs)["tokens"].tolist() == expected
    assert len({len(ids(w)) for w in words}) > 3


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_cached_generation_is_the_reference(
    project: Project, trained: nn.Module, batch: int
) -> None:
    parts = split(project, trained)
    inputs, _ = examples(project, batch, seed=20 + batch)
    assert torch.equal(generate(parts, *steps(parts), inputs), parts.reference(inputs)["tokens"])


def test_every_kind_of_decoder_generates_as_the_model_does(
    project: Project, built: tuple[nn.Module, Split]
) -> None:
    _, parts = built
    inputs, _ = examples(project, 8)
    inputs["text"][::2, 2:] = 0
    expected = parts.reference(inputs)["tokens"]
    assert len({tuple(row) for row in expected.tolist()}) > 2
    assert torch.equal(generate(parts, *steps(parts), inputs), expected)


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_any_division_into_steps_gives_the_same_logits(
    project: Project, built: tuple[nn.Module, Split], sizes: list[int], seed: int
) -> None:
    model, parts = built
    inputs, _ = examples(project, 3, seed)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(11, (3, sum(sizes)), generator=generator)
    encoder, decoder = steps(parts)
    feeds = encode(parts, encoder, inputs)
    found = []
    for chunk in tokens.split(sizes, dim=1):
        made = decoder({**feeds, "decoder_input_ids": chunk})
        advance(parts.generation, feeds, made)
        found.append(made["logits"])
    with torch.no_grad():
        own = model(**inputs, decoder_input_ids=tokens)
    torch.testing.assert_close(torch.cat(found, dim=1), own, rtol=1e-5, atol=1e-5)


def test_the_parts_are_named_as_the_ecosystem_names_them(
    project: Project, trained: nn.Module
) -> None:
    parts = split(project, trained)
    encoder, decoder = parts.components
    assert [encoder.name, decoder.name] == ["encoder", "decoder"]
    assert list(encoder.bindings) == ["image", "audio", "text"]
    assert decoder.bindings["cross_key_values.1.value"] == "encoder.cross_key_values.1.value"
    assert decoder.outputs[:3] == ("logits", "present.0.key", "present.0.value")
    assert parts.generation.cache["past_key_values.1.key"] == "present.1.key"
    declared = [str(spec) for spec in parts.decoder_inputs]
    assert declared[0] == "decoder_input_ids: int64[batch, decoder_sequence_length]"
    past = "float32[batch, 4, past_decoder_sequence_length, 8]"
    assert declared[1:] == [f"{name}: {past}" for name in parts.generation.cache]
    assert list(parts.decoder_examples) == ["decoder_input_ids", *parts.generation.cache]
    assert parts.outputs == {"tokens": "decoder.tokens"}


def test_splitting_leaves_the_model_and_the_fast_path_as_they_were(
    project: Project, trained: nn.Module
) -> None:
    split(project, trained)
    assert torch.backends.mha.get_fastpath_enabled()
    assert not [name for name, m in trained.named_modules() if "forward" in vars(m)]


def as_onnx(
    component: ComponentModule, feeds: dict[str, Tensor], axes: dict[str, dict[int, Any]]
) -> Step:
    """The component exported and opened in ONNX Runtime."""
    shapes = (tuple(axes[name] for name in feeds),)
    # Not left to torch.onnx.export, which fixes a dynamic axis where it must, and says nothing.
    program = torch.export.export(
        component.module, tuple(feeds.values()), dynamic_shapes=shapes, strict=False
    )
    with _translating():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=23,
            input_names=list(feeds),
            output_names=list(component.outputs),
            dynamic_shapes=shapes,
            verbose=False,
        )
    serialized = exported.model_proto.SerializeToString()
    session = ort.InferenceSession(serialized, providers=["CPUExecutionProvider"])

    def run(feeds: dict[str, Tensor]) -> dict[str, Tensor]:
        wanted = {item.name: feeds[item.name].numpy() for item in session.get_inputs()}
        made = [torch.from_numpy(array) for array in session.run(None, wanted)]
        return dict(zip(component.outputs, made, strict=True))

    return run


def encoder_as_onnx(project: Project, parts: Split) -> Step:
    batch, text = torch.export.Dim("batch", max=16), torch.export.Dim("text_length", max=8)
    axes = {"image": {0: batch}, "audio": {0: batch}, "text": {0: batch, 1: text}}
    return as_onnx(parts.components[0], examples(project, 2)[0], axes)


def decoder_as_onnx(project: Project, parts: Split) -> Step:
    batch, memory, length, past = map(torch.export.Dim, ("batch", "memory", "length", "past"))
    decoder = parts.components[1]
    known = encode(parts, steps(parts)[0], examples(project, 2)[0])
    feeds = {name: known[name] for name in decoder.bindings} | parts.decoder_examples
    axes: dict[str, dict[int, Any]] = {name: {0: batch, 2: memory} for name in decoder.bindings}
    axes |= {"memory_key_padding_mask": {0: batch, 1: memory}}
    axes |= {"decoder_input_ids": {0: batch, 1: length}}
    axes |= {name: {0: batch, 2: past} for name in parts.generation.cache}
    return as_onnx(decoder, feeds, axes)


def check_generates(project: Project, parts: Split, encoder: Step, decoder: Step) -> None:
    for batch, text_length in ((1, 4), (3, 4), (3, 2), (1, 1)):
        inputs, _ = examples(project, batch, seed=batch)
        inputs["text"] = inputs["text"][:, :text_length].contiguous()
        expected = parts.reference(inputs)["tokens"]
        assert torch.equal(generate(parts, encoder, decoder, inputs), expected)
        feeds = encode(parts, encoder, inputs)
        prompt = {**feeds, "decoder_input_ids": torch.tensor([[1, 4, 8]] * batch)}
        found, whole = decoder(prompt), steps(parts)[1](prompt)
        for name, tensor in whole.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_onnx_generates_as_the_model_does(project: Project, trained: nn.Module) -> None:
    parts = split(project, trained)
    encoder, decoder = encoder_as_onnx(project, parts), decoder_as_onnx(project, parts)
    check_generates(project, parts, encoder, decoder)


@pytest.mark.slow
def test_an_onnx_decoder_heeds_the_padding_of_the_memory(project: Project) -> None:
    _, parts = variant(project, VARIANTS[2])
    check_generates(project, parts, steps(parts)[0], decoder_as_onnx(project, parts))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"decoder": "decodr"}, "did you mean 'decoder'"),
        ({"head": "hed"}, "did you mean 'head'"),
        ({"token_embedding": "decoder.layer"}, "did you mean 'decoder.layers'"),
        ({"decoder": "encoder"}, "a recipe of your own"),
        ({"token_embedding": "source_positions"}, "expected: a module"),
        ({"position_embedding": "head"}, "nn.Embedding, or a tensor"),
        ({"max_new_tokens": 17}, "max_new_tokens = 16"),
        ({"max_new_tokens": 0}, "at least one new token"),
        ({"end_token_ids": []}, "an end token"),
        ({"start_token_ids": []}, "a start token"),
        ({"pad_token_id": 11}, "0 to 10"),
        ({"token_input": "decoder_ids"}, "did you mean 'decoder_input_ids'"),
        ({"beam_size": 4}, "unknown key 'beam_size'"),
        ({"embedding_scale": 2.0}, "does not give the logits of the model's own forward"),
        ({"position_embedding": ""}, "does not give the logits of the model's own forward"),
    ],
    ids=str,
)
def test_impossible_options_are_refused(
    project: Project, trained: nn.Module, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        split(project, trained, **changes)
    assert says in " ".join(str(caught.value).split())


class Odd(nn.Module):
    """The trained model, with something that the recipe does not know."""

    def __init__(self, model: nn.Module, oddity: str) -> None:
        super().__init__()
        self.model = model
        self.decoder = model.decoder
        self.oddity = oddity

    def forward(
        self, image: Tensor, audio: Tensor, text: Tensor, decoder_input_ids: Tensor
    ) -> object:
        plain = self.decoder.forward

        def odd(tgt: Tensor, memory: Tensor, **given: object) -> Tensor:
            if self.oddity == "the memory sees the tokens":
                memory = memory + tgt.mean()
            if self.oddity == "padded target":
                given["tgt_key_padding_mask"] = decoder_input_ids == 0
            if self.oddity == "no causal mask":
                given = {}
            if self.oddity == "called twice":
                plain(tgt, memory, **given)
            result: Tensor = plain(tgt, memory, **given)
            return result.tanh() if self.oddity == "more before the head" else result

        vars(self.decoder)["forward"] = odd
        logits = self.model(image, audio, text, decoder_input_ids)
        vars(self.decoder)["forward"] = plain
        return {"logits": logits} if self.oddity == "a dictionary" else logits


@pytest.mark.parametrize(
    ("oddity", "says"),
    [
        ("the memory sees the tokens", "does not give the logits of the model's own forward"),
        ("more before the head", "does not give the logits of the model's own forward"),
        ("no causal mask", "a target mask that is not causal"),
        ("padded target", "tgt_key_padding_mask, which a cached decoder cannot use"),
        ("called twice", "forward calls the decoder 'decoder' 2 times"),
        ("a dictionary", "forward does not return logits for each token"),
    ],
)
def test_models_that_the_recipe_does_not_know_are_refused(
    project: Project, trained: nn.Module, oddity: str, says: str
) -> None:
    model = Odd(trained, oddity)
    paths = {k: f"model.{k}" for k in ("token_embedding", "position_embedding", "head")}
    with pytest.raises(ProjectError, match=says):
        split(project, model, **paths)
    vars(trained.decoder).pop("forward", None)


def test_optional_inputs_are_refused(trained: nn.Module, tmp_path: Path) -> None:
    text = (SYSTEM / "mmedge.toml").read_text()
    changed = text.replace('modality = "audio"', 'modality = "audio"\noptional = true')
    (tmp_path / "mmedge.toml").write_text(changed)
    project = load_project(tmp_path)
    options = {key: v for key, v in project.file.recipe.items() if key != "name"}
    with pytest.raises(ProjectError, match="cannot be optional: one encoder"):
        recipe.split(trained, project, options, {})
