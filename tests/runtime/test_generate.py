from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedge.errors import BundleError, InputError, MmedgeError
from mmedge.runtime.execute import evaluate, execute
from mmedge.runtime.generate import generate as run_loop
from mmedge.runtime.next_token import GenerateOptions
from mmedge.runtime.prompt import Prompt
from mmedge.tensors import Array, TensorSpec
from mmedge.wiring import ComponentSpec, Generation, ModelInput, Substitute, Wiring

VOCABULARY, PAD, START, END = 9, 0, 1, 2
GENERATION = Generation(
    decoder="decoder_model_merged",
    token_input="input_ids",
    logits_output="logits",
    cache={"past": "present"},
    start_token_ids=(START, 3),
    end_token_ids=(END,),
    pad_token_id=PAD,
    max_new_tokens=12,
)
DECODER = ComponentSpec(
    name="decoder_model_merged",
    modality="text",
    inputs=(
        TensorSpec("input_ids", "int64", ("batch", "tokens")),
        TensorSpec("context", "float32", ("batch", VOCABULARY)),
        TensorSpec("past", "float32", ("batch", 2, "past_tokens", VOCABULARY)),
    ),
    outputs=(
        TensorSpec("logits", "float32", ("batch", "tokens", VOCABULARY)),
        TensorSpec("present", "float32", ("batch", 2, "all_tokens", VOCABULARY)),
    ),
    bindings={"context": "encoder.context"},
)


class Decoder:
    """A decoder whose logits depend on every token so far, through its cache."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.embedding = rng.normal(size=(VOCABULARY, VOCABULARY)).astype(np.float32)
        self.fed: list[tuple[tuple[int, ...], int]] = []

    def __call__(self, feeds: dict[str, Array]) -> dict[str, Array]:
        tokens, past = feeds["input_ids"], feeds["past"]
        self.fed.append((tokens.shape, past.shape[2]))
        new = self.embedding[tokens][:, None].repeat(2, axis=1)
        present = np.concatenate([past, new], axis=2)
        counts = np.arange(1, present.shape[2] + 1, dtype=np.float32)[:, None]
        means = np.cumsum(present[:, 0], axis=1) / counts
        logits = (means + feeds["context"][:, None])[:, past.shape[2] :]
        return {"logits": logits * np.cos(counts[past.shape[2] :]), "present": present}


def without_cache(decoder: Decoder, context: Array, limit: int) -> Array:
    """The same decoding, one sequence at a time, from the whole prefix at every step."""
    empty = np.zeros((1, 2, 0, VOCABULARY), np.float32)
    answers = np.full((len(context), limit), PAD)
    for row, own in zip(answers, context, strict=True):
        prefix = list(GENERATION.start_token_ids)
        for i in range(limit):
            feeds = {"input_ids": np.array([prefix]), "context": own[None], "past": empty}
            row[i] = int(decoder(feeds)["logits"][0, -1].argmax())
            prefix.append(row[i])
            if row[i] == END:
                break
    lengths = [len(row) if END not in row else list(row).index(END) + 1 for row in answers]
    return answers[:, : max(lengths)]


def start(batch: int, generation: Generation = GENERATION) -> Prompt:
    return Prompt(ids=np.tile(np.array(generation.start_token_ids), (batch, 1)))


def generate(decoder: object, context: Array, **options: object) -> Array:
    return run_loop(
        GENERATION,
        DECODER,
        decoder,
        start(len(context)),
        feeds={"context": context},
        options=GenerateOptions(**options),
    )


@given(seed=st.integers(0, 10**6), batch=st.integers(1, 5), limit=st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_equals_decoding_without_a_cache(seed: int, batch: int, limit: int) -> None:
    context = np.random.default_rng(seed + 1).normal(size=(batch, VOCABULARY)).astype(np.float32)
    decoder = Decoder(seed)
    found = generate(decoder, context, max_new_tokens=limit)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, without_cache(Decoder(seed), context, limit))


def test_feeds_the_start_once_and_then_one_token_at_a_time() -> None:
    decoder = Decoder()
    endless = msgspec.structs.replace(GENERATION, end_token_ids=())
    feeds = {"context": np.zeros((3, VOCABULARY), np.float32)}
    options = GenerateOptions(max_new_tokens=3)
    run_loop(endless, DECODER, decoder, start(3), feeds=feeds, options=options)
    assert decoder.fed[0] == ((3, 2), 0)
    assert decoder.fed[1:] == [((3, 1), 2), ((3, 1), 3)]


def test_up_to_is_at_most_what_the_model_declares() -> None:
    context = np.zeros((1, VOCABULARY), np.float32)
    endless = msgspec.structs.replace(GENERATION, end_token_ids=())

    def length(**options: object) -> int:
        feeds, chosen = {"context": context}, GenerateOptions(**options)
        return run_loop(endless, DECODER, Decoder(), start(1), feeds=feeds, options=chosen).shape[1]

    assert length(up_to=3) == 3
    assert length(up_to=1000) == length() == GENERATION.max_new_tokens


def scripted(*steps: list[int]) -> object:
    """A decoder that says `steps[i][b]` at step i, whatever it is fed."""
    remaining = list(steps)

    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        batch, length = feeds["input_ids"].shape
        logits = np.zeros((batch, length, VOCABULARY), np.float32)
        logits[np.arange(batch), -1, remaining.pop(0)] = 1
        return {"logits": logits, "present": feeds["past"]}

    return run


def test_ended_sequences_are_padded_until_all_have_ended() -> None:
    context = np.zeros((2, VOCABULARY), np.float32)
    seen: list[list[int]] = []
    tokens = generate(
        scripted([4, END], [5, 7], [END, 7]), context, on_token=lambda t: seen.append(t.tolist())
    )
    np.testing.assert_array_equal(tokens, [[4, 5, END], [END, PAD, PAD]])
    assert seen == tokens.T.tolist()


def test_the_first_of_equal_logits_wins() -> None:
    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        logits = np.zeros((1, feeds["input_ids"].shape[1], VOCABULARY), np.float32)
        logits[..., [5, 8]] = 1
        return {"logits": logits, "present": feeds["past"]}

    tokens = generate(run, np.zeros((1, VOCABULARY), np.float32), max_new_tokens=2)
    np.testing.assert_array_equal(tokens, [[5, 5]])


def test_no_tokens_may_be_asked_for() -> None:
    assert generate(scripted(), np.zeros((2, VOCABULARY)), max_new_tokens=0).shape == (2, 0)


@pytest.mark.parametrize("asked", [-1, 13])
def test_more_tokens_than_compiled_for_are_refused(asked: int) -> None:
    with pytest.raises(InputError, match="max_new_tokens") as caught:
        generate(scripted(), np.zeros((2, VOCABULARY)), max_new_tokens=asked)
    advice = caught.value.details["try"]
    if asked < 0:
        assert advice is None
    else:
        assert "--max-new-tokens 12" in str(advice)
        assert "generation_config.json" in str(advice)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_an_error(value: float) -> None:
    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        logits = np.full((1, feeds["input_ids"].shape[1], VOCABULARY), -np.inf, np.float32)
        logits[0, -1, 6] = value
        return {"logits": logits, "present": feeds["past"]}

    with pytest.raises(MmedgeError, match="not finite"):
        generate(run, np.zeros((1, VOCABULARY), np.float32))


def test_masked_logits_are_no_error() -> None:
    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        logits = np.full((1, feeds["input_ids"].shape[1], VOCABULARY), -np.inf, np.float32)
        logits[0, -1, END] = -5
        return {"logits": logits, "present": feeds["past"]}

    tokens = generate(run, np.zeros((1, VOCABULARY), np.float32))
    np.testing.assert_array_equal(tokens, [[END]])


def test_a_missing_output_names_the_decoder() -> None:
    with pytest.raises(BundleError, match="'decoder_model_merged' did not return 'present'"):
        generate(
            lambda feeds: {"logits": np.zeros((1, 2, VOCABULARY), np.float32)},
            np.zeros((1, VOCABULARY), np.float32),
        )


@pytest.mark.parametrize("shape", [("batch", 2, 5, VOCABULARY), ("batch", "heads", "past", 4)])
def test_a_cache_without_one_growing_axis_is_refused(shape: tuple) -> None:
    inputs = (*DECODER.inputs[:2], TensorSpec("past", "float32", shape))
    decoder = msgspec.structs.replace(DECODER, inputs=inputs)
    with pytest.raises(BundleError, match="'past' is not a growing cache"):
        run_loop(GENERATION, decoder, scripted(), start(1))


def test_int32_tokens_stay_int32() -> None:
    inputs = (TensorSpec("input_ids", "int32", ("batch", "tokens")), *DECODER.inputs[1:])
    fed: list[str] = []
    decode = scripted([4], [END])

    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        fed.append(str(feeds["input_ids"].dtype))
        return decode(feeds)

    decoder = msgspec.structs.replace(DECODER, inputs=inputs)
    assert run_loop(GENERATION, decoder, run, start(1)).tolist() == [[4, END]]
    assert fed == ["int32", "int32"]


# --- as a part of execute ---

CONTEXT = TensorSpec("context", "float32", ("batch", VOCABULARY))
WIRING = Wiring(
    inputs=(ModelInput(TensorSpec("image", "float32", ("batch", VOCABULARY)), optional=True),),
    components=(
        DECODER,
        ComponentSpec(
            "encoder",
            "image",
            (TensorSpec("x", "float32", ("batch", VOCABULARY)),),
            (CONTEXT,),
            {"x": "image"},
        ),
    ),
    outputs={"tokens": "decoder_model_merged.tokens"},
    generation=GENERATION,
)


def components(decoder: Decoder, calls: list[str]) -> object:
    def run(name: str, feeds: dict[str, Array]) -> dict[str, Array]:
        calls.append(name)
        return {"context": feeds["x"] * 2} if name == "encoder" else decoder(feeds)

    return run


def test_execute_generates_after_every_other_component() -> None:
    image = np.random.default_rng(4).normal(size=(3, VOCABULARY)).astype(np.float32)
    calls: list[str] = []
    outputs = execute(WIRING, {"image": image}, components(Decoder(4), calls))
    np.testing.assert_array_equal(outputs["tokens"], generate(Decoder(4), image * 2))
    assert calls[0] == "encoder"
    assert set(calls[1:]) == {"decoder_model_merged"}


def test_no_start_token_and_no_prompt_is_refused() -> None:
    wiring = msgspec.structs.replace(
        WIRING, generation=msgspec.structs.replace(GENERATION, start_token_ids=())
    )
    with pytest.raises(InputError, match="nothing to continue"):
        execute(wiring, {"image": np.zeros((1, VOCABULARY), np.float32)}, components(Decoder(), []))


def test_execute_passes_on_the_limit_and_every_token() -> None:
    image = np.zeros((2, VOCABULARY), np.float32)
    seen: list[Array] = []
    run = components(Decoder(7), [])
    options = GenerateOptions(max_new_tokens=2, on_token=seen.append)
    outputs = execute(WIRING, {"image": image}, run, options=options)
    np.testing.assert_array_equal(np.stack(seen, axis=1), outputs["tokens"])
    assert outputs["tokens"].shape[1] <= 2


def test_the_decoder_does_not_run_where_nothing_needs_it() -> None:
    calls: list[str] = []
    image = np.zeros((2, VOCABULARY), np.float32)
    evaluate(WIRING, {"image": image}, components(Decoder(), calls), ["encoder.context"])
    assert calls == ["encoder"]


def test_an_absent_context_needs_its_input_or_a_substitute() -> None:
    run = components(Decoder(), [])
    with pytest.raises(InputError, match="output 'tokens' needs optional input 'image'"):
        execute(WIRING, {}, run)
    wiring = msgspec.structs.replace(WIRING, substitutes={"encoder.context": Substitute(CONTEXT)})
    expected = generate(Decoder(), np.zeros((1, VOCABULARY), np.float32))
    np.testing.assert_array_equal(execute(wiring, {}, run)["tokens"], expected)


def test_the_logits_of_a_decoder_are_its_own() -> None:
    with pytest.raises(BundleError, match=r"did you mean 'decoder_model_merged\.tokens'"):
        evaluate(WIRING, {}, components(Decoder(), []), ["decoder_model_merged.logits"])
