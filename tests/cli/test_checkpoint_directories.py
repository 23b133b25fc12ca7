"""`inspect`, `init` and `compile --sample` of Hugging Face directories."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo

Checkpoint = Callable[[str], Path]


@pytest.fixture
def changed(checkpoint: Checkpoint, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(checkpoint(name), tmp_path / name))


def test_inspect_tells_what_compile_would_do(run: Any, checkpoint: Checkpoint) -> None:
    done = run("inspect", checkpoint("clip"), "--json")
    assert done.code == 0, done.err
    facts = done.json["compile"]
    assert (facts["architecture"], facts["recipe"]) == ("CLIPModel", "hf_dual_encoder")
    assert facts["raw_inputs"] == {
        "image": {"modality": "image", "tensors": ["pixel_values"]},
        "text": {"modality": "text", "tensors": ["input_ids", "attention_mask"]},
    }
    assert facts["components"] == ["vision_model", "text_model", "similarity"]
    assert {item["spec"]["name"] for item in facts["inputs"]} == {
        "pixel_values", "input_ids", "attention_mask",
    }  # fmt: skip
    shown = " ".join(run("inspect", checkpoint("clip")).out.split())
    for part in (
        "CLIPModel: dual encoder",
        "components: vision_model, text_model, similarity",
        "through CLIPProcessor",
        "takes image: an image file, made into pixel_values",
        "int64[text_batch, length] text, made from text",
        *facts["reasons"],
    ):
        assert part in shown
    assert "takes the tensor itself" not in shown
    assert shown.index("components:") < shown.index("logit_scale"), "the long table comes last"


def test_inspect_tells_why_tensors_are_taken(run: Any, checkpoint: Checkpoint) -> None:
    shown = " ".join(run("inspect", checkpoint("owlv2")).out.split())
    assert "raw inputs: none" in shown
    assert "the processor Owlv2Processor is not known to mmedge" in shown
    assert "input_ids: int64[batch, queries, length] text, takes the tensor itself" in shown
    assert "not hf_dual_encoder: " not in shown
    why = run("inspect", checkpoint("owlv2"), "--debug").out
    assert "not hf_dual_encoder: " in why


def test_inspect_of_what_no_recipe_takes(run: Any, changed: Callable[[str], Path]) -> None:
    directory = changed("clip")
    (directory / "tokenizer.json").write_text("{}")
    done = run("inspect", directory, "--json")
    assert (done.code, done.json["compile"]["exit_code"]) == (3, 3)
    assert "no recipe takes CLIPModel" in done.json["compile"]["error"]
    assert "mmedge compile would refuse it" in " ".join(run("inspect", directory).out.split())


def test_without_a_processor_the_models_tensors_are_the_way(
    run: Any, changed: Callable[[str], Path], tmp_path: Path
) -> None:
    """What is told to do is done, to the end: `inspect`, `compile`, `run`."""
    directory = changed("clip")
    given = {name: t.numpy() for name, t in zoo.batch("clip", directory).items()}
    np.savez(tmp_path / "tensors.npz", **given)
    for file in ("processor_config", "tokenizer", "tokenizer_config"):
        (directory / f"{file}.json").unlink()
    output = tmp_path / "clip.mmedge"
    words = ["compile", directory, "-o", output, "--measure-seconds", 0, "--threads", 1, "--json"]
    refused, seen = run(*words), run("inspect", directory, "--json")
    assert refused.code == seen.code == 3
    assert seen.json["compile"]["error"] in refused.err
    assert "--sample tensors.npz" in refused.json["try"]
    sample = ["--sample", tmp_path / "tensors.npz"]
    seen = run("inspect", directory, *sample, "--json")
    assert (seen.code, seen.json["compile"]["recipe"]) == (0, "hf_dual_encoder")
    done = run(*words, *sample)
    assert done.code == 0, done.err
    assert done.json["verification"]["real_inputs"]
    assert [c["name"] for c in done.json["components"]] == seen.json["compile"]["components"]
    flags = []
    for name, array in given.items():
        np.save(tmp_path / f"{name}.npy", array)
        flags += ["-i", f"{name}={tmp_path / name}.npy"]
    found = run("run", output, *flags, "--json").json["logits_per_image"]["values"]
    feeds = {name: torch.from_numpy(array) for name, array in given.items()}
    expected = zoo.reference(zoo.load(directory), feeds)["logits_per_image"]
    np.testing.assert_allclose(found, expected.reshape(-1), rtol=1e-3, atol=1e-4)


def test_a_broken_config_is_one_error(run: Any, changed: Callable[[str], Path]) -> None:
    directory = changed("clip")
    (directory / "config.json").write_text("{")
    done = run("inspect", directory, "--json")
    assert (done.code, done.json["error"]) == (3, "CheckpointError")


def test_init_writes_what_is_proposed(run: Any, changed: Callable[[str], Path]) -> None:
    directory = changed("wav2vec2_ctc")
    done = run("init", directory, "--json")
    assert done.code == 0, done.err
    assert done.json["text"] == (directory / "mmedge.toml").read_text()
    facts = run("inspect", directory, "--json").json
    assert (facts["kind"], facts["recipe"]) == ("project", "hf_single_pass")
    assert run("init", directory).code == 10
    assert run("init", directory, "--force").code == 0


def test_init_prints_the_file_as_it_is(run: Any, changed: Callable[[str], Path]) -> None:
    """However long its lines are: the output may go into a file."""
    done = run("init", changed("whisper"))
    assert done.code == 0
    assert done.out == (Path(done.err.split()[-1])).read_text()
    assert "written to" in done.err


def test_init_writes_the_same_elsewhere(
    run: Any, changed: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = changed("wav2vec2_ctc")
    target = tmp_path / "elsewhere.toml"
    assert run("init", directory).code == 0
    done = run("init", directory, "-o", target, "--json")
    assert (done.code, done.json["written"]) == (0, str(target)), done.err
    beside = (directory / "mmedge.toml").read_text()
    assert target.read_text() == beside.replace('weights = "."', f'weights = "{directory.name}"')
    assert run("inspect", target, "--json").json["recipe"] == "hf_single_pass"
    assert run("init", directory, "--force").code == 0
    assert (directory / "mmedge.toml").read_text() == beside


def test_init_where_nothing_is_proposed(run: Any, changed: Callable[[str], Path]) -> None:
    """What the files tell, to be filled in by hand."""
    directory = changed("clip")
    (directory / "tokenizer.json").write_text("{}")
    done = run("init", directory, "--json")
    assert done.code == 0, done.err
    assert "Every guess is marked" in done.json["text"]


@pytest.mark.parametrize("name", ["missing.png", "notes.md", "empty.txt", "broken.json"])
def test_compile_refuses_a_bad_sample_at_once(
    run: Any, checkpoint: Checkpoint, tmp_path: Path, name: str
) -> None:
    if name != "missing.png":
        (tmp_path / name).write_text("[{" if name == "broken.json" else "")
    output = tmp_path / "out.mmedge"
    words = ["compile", checkpoint("clip"), "-o", output, "--sample", tmp_path / name]
    done = run(*words, "--json")
    assert (done.code, done.json["error"]) == (3, "DataError")
    assert name in done.json["message"]
    assert not output.exists()
