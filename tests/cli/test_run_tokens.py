"""`mmedge run` on a bundle that generates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mmedge.runtime import load
from mmedge.runtime.sampling import Sampling


@pytest.fixture
def ids(tmp_path: Path) -> str:
    np.save(tmp_path / "ids.npy", np.array([[8, 9, 3], [1, 4, 5]]))
    return f"input_ids={tmp_path / 'ids.npy'}"


def test_text_in_text_out(run: Callable[..., Any], vlm: Any) -> None:
    with load(vlm.growing, threads=1) as bundle:
        (wanted,) = bundle.decode(bundle.generate(input_ids="what is red"))
    done = run("run", vlm.growing, "--text", "what is red")
    assert (done.code, done.out) == (0, wanted + "\n"), done.err
    assert run("run", vlm.growing, "-i", "input_ids=what is red").out == done.out


def test_the_text_is_printed_as_it_comes(
    run: Callable[..., Any], vlm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import click

    pieces: list[str] = []
    echo = click.echo
    monkeypatch.setattr(
        click, "echo", lambda text="", **options: (pieces.append(text), echo(text, **options))
    )
    done = run("run", vlm.growing, "--text", "what is red", "--max-new-tokens", 5)
    assert "".join(pieces) == done.out.rstrip("\n")
    assert sum(bool(piece) for piece in pieces) > 1


def test_json_has_tokens_and_text(run: Callable[..., Any], vlm: Any, ids: str) -> None:
    done = run("run", vlm.growing, "-i", ids, "--json", "--max-new-tokens", 4)
    with load(vlm.growing, threads=1) as bundle:
        tokens = bundle.generate(input_ids=np.array([[8, 9, 3], [1, 4, 5]]), max_new_tokens=4)
        assert done.json == {"tokens": tokens.tolist(), "text": bundle.decode(tokens)}


def test_a_batch_is_one_line_each(run: Callable[..., Any], vlm: Any, ids: str) -> None:
    done = run("run", vlm.growing, "-i", ids)
    with load(vlm.growing, threads=1) as bundle:
        texts = bundle.decode(bundle.generate(input_ids=np.array([[8, 9, 3], [1, 4, 5]])))
    assert done.out.splitlines() == texts
    both = run("run", vlm.growing, "--text", "what is red", "--text", "<s> green blue")
    assert both.out == done.out


def test_sampling(run: Callable[..., Any], vlm: Any, ids: str) -> None:
    words = ("--temperature", 2, "--top-k", 9, "--top-p", 0.9, "--min-p", 0.01, "--seed", 3)
    stop = ("--stop-token", 5, "--stop-token", 6)
    done = run("run", vlm.growing, "-i", ids, *words, *stop, "--json")
    sampling = Sampling(temperature=2.0, top_k=9, top_p=0.9, min_p=0.01, seed=3)
    with load(vlm.growing, threads=1) as bundle:
        tokens = bundle.generate(
            input_ids=np.array([[8, 9, 3], [1, 4, 5]]), sampling=sampling, stop_token_ids=(5, 6)
        )
    assert done.json["tokens"] == tokens.tolist()


def test_tokens_are_saved(run: Callable[..., Any], vlm: Any, ids: str, tmp_path: Path) -> None:
    done = run("run", vlm.growing, "-i", ids, "--save", tmp_path / "out.npz", "--json")
    with np.load(tmp_path / "out.npz") as file:
        assert file["tokens"].tolist() == done.json["tokens"]
    failed = run("run", vlm.growing, "-i", ids, "--save", tmp_path, "--json")
    assert (failed.code, failed.json["error"]) == (10, "OutputError")


def test_without_a_tokenizer_tokens_are_printed(
    run: Callable[..., Any], vlm: Any, ids: str, tmp_path: Path
) -> None:
    wiring = vlm.wiring()
    plain = tuple(msgspec.structs.replace(item, preprocess={}) for item in wiring.inputs)
    path = tmp_path / "plain.mmedge"
    vlm.write(path, msgspec.structs.replace(wiring, inputs=plain), vlm.graphs())
    done = run("run", path, "-i", ids, "--max-new-tokens", 3, "--json")
    assert done.json["text"] is None
    lines = run("run", path, "-i", ids, "--max-new-tokens", 3).out.splitlines()
    assert [[int(token) for token in line.split()] for line in lines] == done.json["tokens"]
    failed = run("run", path, "--text", "red", "--json")
    assert (failed.code, failed.json["message"]) == (
        11,
        "nothing in the bundle makes tensors of text",
    )
    assert "-i input_ids=FILE.npy" in failed.json["try"]


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["--temperature", "0"], 2, "temperature"),
        (["--temperature", "nan"], 2, "temperature"),
        (["--top-p", "1.5"], 2, "top-p"),
        (["--top-p", "0"], 2, "top-p"),
        (["--min-p", "-1"], 2, "min-p"),
        (["--top-k", "0"], 2, "top-k"),
        (["--seed", "-1"], 2, "seed"),
        (["--max-new-tokens", "-1"], 2, "max-new-tokens"),
        (["--max-new-tokens", "17"], 11, "try:      --max-new-tokens 16"),
        (["--stop-token", "99"], 11, "not in the vocabulary"),
        (["--image", "photo.png"], 11, "nothing in the bundle makes tensors of image"),
        (["--text", "red"], 11, "given twice"),
        (["--audio", "a.wav"], 11, "the model takes no audio"),
    ],
)
def test_what_does_not_fit(
    run: Callable[..., Any], vlm: Any, ids: str, words: list[str], code: int, problem: str
) -> None:
    done = run("run", vlm.growing, "-i", ids, *words)
    assert done.code == code
    assert problem in done.err


def test_a_model_that_does_not_generate_takes_no_settings(
    run: Callable[..., Any], tiny_bundle: Path, inputs: list[str]
) -> None:
    done = run("run", tiny_bundle, *inputs, "--seed", 1, "--stop-token", 3)
    assert done.code == 11
    assert "the model generates no tokens" in done.err
    assert "--seed, --stop-token" in done.err
