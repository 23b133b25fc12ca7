"""A bundle that generates, through ONNX Runtime, against the same model by hand in numpy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedge.errors import BundleError, InputError, MmedgeError
from mmedge.runtime import Bundle, load
from mmedge.runtime.sampling import Sampling
from mmedge.tensors import Array, Axis

SHARED = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["growing", "fixed"])
def bundle(request: pytest.FixtureRequest, vlm: Any) -> Iterator[Bundle]:
    """Once for each kind of cache: everything is the same."""
    with load(getattr(vlm, request.param), threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def growing(vlm: Any) -> Iterator[Bundle]:
    with load(vlm.growing, threads=1) as opened:
        yield opened


def prompts(seed: int, lengths: list[int]) -> dict[str, Array]:
    """Random prompts padded on the left; some tokens stand for the image."""
    rng = np.random.default_rng(seed)
    longest = max(lengths)
    ids = rng.integers(3, 12, (len(lengths), longest))
    mask = (np.arange(longest) >= longest - np.array(lengths)[:, None]).astype(np.int64)
    pixels = rng.normal(size=(len(lengths), 3)).astype(np.float32)
    return {"input_ids": np.where(mask, ids, 0), "attention_mask": mask, "pixel_values": pixels}


def rows(tokens: Array, end: int) -> list[list[int]]:
    """Each answer up to its end token; nothing but padding follows it."""
    answers = []
    for row in tokens.tolist():
        length = row.index(end) + 1 if end in row else len(row)
        assert not any(row[length:])
        answers.append(row[:length])
    return answers


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    limit=st.integers(1, 16),
)
@SHARED
def test_the_answer_is_the_one_by_hand(
    bundle: Bundle, vlm: Any, seed: int, lengths: list[int], limit: int
) -> None:
    inputs = prompts(seed, lengths)
    tokens = bundle.generate(max_new_tokens=limit, **inputs)
    wanted = vlm.by_hand(
        inputs["input_ids"], inputs["attention_mask"], image=inputs["pixel_values"], limit=limit
    )
    assert tokens.dtype == np.int64
    assert tokens.shape == (len(lengths), max(map(len, wanted)))
    assert rows(tokens, vlm.end) == wanted


def test_calling_the_bundle_is_greedy(bundle: Bundle) -> None:
    inputs = prompts(1, [3, 5])
    np.testing.assert_array_equal(bundle(**inputs)["answer"], bundle.generate(**inputs))


def test_without_an_image_the_prompt_goes_through_the_embedding(bundle: Bundle, vlm: Any) -> None:
    ids = np.array([[8, 9, 3]])
    wanted = vlm.by_hand(ids, np.ones_like(ids), limit=16)
    assert rows(bundle.generate(input_ids=ids), vlm.end) == wanted


def test_the_fixed_cache_stays_where_it_is(vlm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past and present are one buffer, allocated once: no call returns a cache."""
    from mmedge.runtime.onnxruntime_binding import BoundSession

    returned: list[set[str]] = []
    run = BoundSession.__call__

    def watched(self: Any, feeds: Any) -> dict[str, Array]:
        outputs = run(self, feeds)
        returned.append(set(outputs))
        assert feeds.keys() == {
            "inputs_embeds", "attention_mask", "position_ids", "cache_position"
        }  # fmt: skip
        return outputs

    monkeypatch.setattr(BoundSession, "__call__", watched)
    with load(vlm.fixed, threads=1) as bundle:
        tokens = bundle.generate(max_new_tokens=5, **prompts(2, [4]))
    assert returned == [{"logits"}] * tokens.shape[1]


def test_a_fixed_cache_without_binding_gives_the_same(vlm: Any) -> None:
    """Engines that cannot keep buffers in place copy them."""
    inputs = prompts(5, [2, 6])
    with load(vlm.fixed, threads=1) as bundle:
        unbound = bundle.run(inputs, run_component=bundle.run_component)
        np.testing.assert_array_equal(unbound["answer"], bundle.generate(**inputs))


def test_the_seed_decides_the_sample(bundle: Bundle) -> None:
    inputs = prompts(3, [3, 4])

    def sample(seed: int | None) -> list[list[int]]:
        sampling = Sampling(temperature=2.0, seed=seed)
        return bundle.generate(sampling=sampling, max_new_tokens=8, **inputs).tolist()

    assert sample(1) == sample(1)
    assert len({json.dumps(sample(seed)) for seed in range(5)}) > 1
    assert len({json.dumps(sample(None)) for _ in range(5)}) > 1


def test_one_token_to_draw_from_is_greedy(bundle: Bundle) -> None:
    inputs = prompts(4, [3])
    sampled = bundle.generate(sampling=Sampling(top_k=1, temperature=5.0), **inputs)
    np.testing.assert_array_equal(sampled, bundle.generate(**inputs))


def test_a_stop_token_ends_a_sequence_as_its_own_end_does(growing: Bundle, vlm: Any) -> None:
    inputs = prompts(6, [3, 4, 5])
    plain = growing.generate(max_new_tokens=8, **inputs)
    stop = int(plain[0, 1])
    stopped = growing.generate(max_new_tokens=8, stop_token_ids=(stop,), **inputs)
    for row, before in zip(stopped.tolist(), plain.tolist(), strict=True):
        ends = [i for i, token in enumerate(before) if token in (stop, vlm.end)]
        length = min(ends, default=len(before) - 1) + 1
        assert row[:length] == before[:length]
        assert not any(row[length:])


def test_tokens_are_told_as_they_come(bundle: Bundle) -> None:
    seen: list[Array] = []
    tokens = bundle.generate(on_token=seen.append, **prompts(7, [2, 3]))
    np.testing.assert_array_equal(np.stack(seen, axis=1), tokens)


def test_text_in_and_text_out(growing: Bundle, vlm: Any) -> None:
    pieces: list[list[str]] = []
    tokens = growing.generate(input_ids="what is <image>", on_text=pieces.append)
    (text,) = growing.decode(tokens)
    assert "".join(piece for (piece,) in pieces) == text
    assert len(pieces) > 1
    assert "<" not in text
    assert growing.decode(np.zeros((2, 0), np.int64)) == ["", ""]


def test_what_follows_the_end_is_no_text(growing: Bundle, vlm: Any) -> None:
    assert growing.decode(np.array([[3, vlm.end, 4], [4, 5, 3]])) == ["red", "green blue red"]


@pytest.mark.parametrize("tokens", [[3, 4], [[0.5]], [[-1]], [[2**40]]])
def test_what_is_no_token_is_not_decoded(growing: Bundle, tokens: Any) -> None:
    with pytest.raises(InputError, match="no tokens"):
        growing.decode(np.array(tokens))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interrupt_leaves_the_bundle_usable(bundle: Bundle, stop: type[BaseException]) -> None:
    inputs = prompts(8, [3, 3])
    before = bundle.generate(**inputs)

    def interrupt(tokens: Array) -> None:
        raise stop

    for _ in range(2):
        with pytest.raises(stop):
            bundle.generate(on_token=interrupt, **inputs)
        np.testing.assert_array_equal(bundle.generate(**inputs), before)


GOOD = prompts(9, [3, 3])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"input_ids": np.zeros((1, 0), np.int64)}, "outside 1..32"),
        ({"input_ids": np.zeros((0, 3), np.int64)}, "outside 1..8"),
        ({"input_ids": np.ones((1, 33), np.int64)}, "outside 1..32"),
        ({"attention_mask": np.array([[1, 1, 0]] * 2)}, "padded on the right"),
        ({"attention_mask": np.array([[1, 1, 1], [0, 0, 0]])}, "sequence 1 of the prompt is empty"),
        ({"max_new_tokens": -1}, "max_new_tokens"),
        ({"max_new_tokens": 17}, "max_new_tokens"),
        ({"max_new_tokens": 2.5}, "max_new_tokens"),
        ({"max_new_tokens": True}, "max_new_tokens"),
        ({"stop_token_ids": (-1,)}, "not a token id"),
        ({"stop_token_ids": ("</s>",)}, "not a token id"),
        ({"stop_token_ids": (12,)}, "not in the vocabulary"),
        ({"inputs": GOOD}, "there is no input 'inputs'"),
    ],
)
def test_what_does_not_fit_is_refused(bundle: Bundle, changes: Any, problem: str) -> None:
    inputs = {**GOOD, **changes}
    if len(inputs["input_ids"]) != 2 or inputs["input_ids"].shape[1] != 3:
        inputs = {"input_ids": inputs["input_ids"]}
    with pytest.raises(InputError, match=problem):
        bundle.generate(**inputs)


def test_no_tokens_may_be_asked_for(bundle: Bundle) -> None:
    assert bundle.generate(max_new_tokens=0, **GOOD).shape == (2, 0)


def test_a_full_cache_ends_the_answer_or_refuses(vlm: Any, tmp_path: Path) -> None:
    wiring = vlm.wiring(capacity=vlm.capacity)
    endless = msgspec.structs.replace(wiring.generation, end_token_ids=())
    wiring = msgspec.structs.replace(wiring, generation=endless)
    vlm.tokenizer_json(tmp_path / "tokenizer.json")
    vlm.write(tmp_path, wiring, vlm.graphs(capacity=vlm.capacity))
    with load(tmp_path, threads=1) as bundle:
        ids = np.full((1, vlm.capacity - 3), 4)
        assert bundle.generate(input_ids=ids).shape == (1, 4)  # the last one needs no place
        assert bundle.generate(input_ids=ids, max_new_tokens=4).shape == (1, 4)
        with pytest.raises(InputError, match="does not fit behind this prompt"):
            bundle.generate(input_ids=ids, max_new_tokens=5)
        with pytest.raises(InputError, match="too long for decoder"):
            bundle.generate(input_ids=np.full((1, vlm.capacity + 1), 4))


def test_the_range_of_the_past_limits_a_growing_cache(vlm: Any, tmp_path: Path) -> None:
    wiring = vlm.wiring()
    endless = msgspec.structs.replace(wiring.generation, end_token_ids=())
    axes = {**wiring.axes, "past": Axis(0, 1, 6)}
    wiring = msgspec.structs.replace(wiring, generation=endless, axes=axes)
    vlm.tokenizer_json(tmp_path / "tokenizer.json")
    vlm.write(tmp_path, wiring, vlm.graphs())
    with load(tmp_path, threads=1) as bundle:
        # The last call has a past of 6: the prompt and all but the two newest tokens.
        assert bundle.generate(input_ids=np.full((1, 5), 4)).shape == (1, 3)


def test_rules_that_suppress_everything_are_told(vlm: Any, tmp_path: Path) -> None:
    wiring = vlm.wiring()
    rules = msgspec.structs.replace(wiring.generation.rules, suppress_tokens=tuple(range(12)))
    generation = msgspec.structs.replace(wiring.generation, rules=rules)
    vlm.tokenizer_json(tmp_path / "tokenizer.json")
    vlm.write(tmp_path, msgspec.structs.replace(wiring, generation=generation), vlm.graphs())
    with load(tmp_path, threads=1) as bundle, pytest.raises(BundleError, match="every token"):
        bundle.generate(input_ids=np.array([[3]]))


def test_logits_that_are_not_finite_are_told(vlm: Any, tmp_path: Path) -> None:
    broken = vlm.graphs()
    broken["decoder_model_merged"] = broken["decoder_model_merged"].replace(
        "mixed = Tanh(context)",
        "square = Mul(context, context) negative = Neg(square) mixed = Sqrt(negative)",
    )
    vlm.tokenizer_json(tmp_path / "tokenizer.json")
    vlm.write(tmp_path, vlm.wiring(), broken)
    with load(tmp_path, threads=1) as bundle, pytest.raises(MmedgeError, match="not finite"):
        bundle.generate(input_ids=np.array([[3]]))


def test_without_a_tokenizer_there_are_only_tokens(vlm: Any, tmp_path: Path) -> None:
    wiring = vlm.wiring()
    plain = tuple(msgspec.structs.replace(item, preprocess={}) for item in wiring.inputs)
    vlm.write(tmp_path, msgspec.structs.replace(wiring, inputs=plain), vlm.graphs())
    with load(tmp_path, threads=1) as bundle:
        tokens = bundle.generate(input_ids=np.array([[3]]), max_new_tokens=2)
        with pytest.raises(BundleError, match="no tokenizer in the bundle"):
            bundle.decode(tokens)
        with pytest.raises(BundleError, match="no tokenizer in the bundle"):
            bundle.generate(input_ids=np.array([[3]]), on_text=print)


def test_a_model_that_generates_nothing_says_so(vlm: Any, tmp_path: Path) -> None:
    wiring = msgspec.structs.replace(
        vlm.wiring(),
        outputs={"features": "vision_encoder.image_features"},
        components=vlm.wiring().components[:1],
        generation=None,
    )
    vlm.tokenizer_json(tmp_path / "tokenizer.json")
    vlm.write(tmp_path, wiring, {"vision_encoder": vlm.graphs()["vision_encoder"]})
    with load(tmp_path, threads=1) as bundle, pytest.raises(BundleError, match="no tokens"):
        bundle.generate(pixel_values=np.zeros((1, 3), np.float32))


def test_a_closed_bundle_does_not_generate(vlm: Any) -> None:
    for path in (vlm.growing, vlm.fixed):
        bundle = load(path, threads=1)
        bundle.close()
        with pytest.raises(BundleError, match="closed"):
            bundle.generate(input_ids=np.array([[3]]))
