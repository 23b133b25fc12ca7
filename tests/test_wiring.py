from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from mmedge.errors import ProjectError
from mmedge.tensors import Axis, TensorSpec
from mmedge.wiring import (
    ComponentSpec,
    Generation,
    ModelInput,
    Substitute,
    Wiring,
    axis_size,
    other_sizes,
    resize_axis,
    with_indicators,
)

X = TensorSpec("x", "float32", ("batch", 4))
H = TensorSpec("h", "float32", ("batch", 2))
Y = TensorSpec("y", "float32", ("batch", 3))
TOKENS = TensorSpec("tokens", "int64", ("batch", "length"))
PAST = TensorSpec("past", "float32", ("batch", "past"))
PRESENT = TensorSpec("present", "float32", ("batch", "total"))

WIRING = Wiring(
    inputs=(ModelInput(X),),
    components=(
        ComponentSpec("encoder", "tensor", (X,), (H,), {"x": "x"}),
        ComponentSpec("head", "tensor", (H,), (Y,), {"h": "encoder.h"}),
    ),
    outputs={"y": "head.y"},
    axes={"batch": Axis()},
)
DECODER = ComponentSpec("decoder", "text", (H, TOKENS, PAST), (Y, PRESENT), {"h": "encoder.h"})
GENERATION = Generation("decoder", "tokens", "y", {"past": "present"}, (0,), (1,), 1, 8)
GENERATING = Wiring(
    inputs=WIRING.inputs,
    components=(WIRING.components[0], DECODER),
    outputs={"text": "decoder.tokens"},
    axes=WIRING.axes,
    generation=GENERATION,
)


def changed(struct: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(struct, **fields)


def test_sound_wirings_pass() -> None:
    WIRING.check()
    GENERATING.check()


def test_look_ups() -> None:
    assert WIRING.component("head").outputs == (Y,)
    assert WIRING.input("x").spec == X
    assert list(WIRING.sources()) == ["x", "encoder.h", "head.y"]
    with pytest.raises(KeyError):
        WIRING.component("tail")
    with pytest.raises(KeyError):
        WIRING.input("z")


ENCODER, HEAD = WIRING.components
BAD_HEAD = changed(HEAD, inputs=(changed(H, dtype="float33"),))
WRONG = {
    "not wired": {"components": (changed(ENCODER, bindings={}), HEAD)},
    "is not wired": {"components": (HEAD, ENCODER)},  # bound to what is made later
    "two components are called": {"components": (ENCODER, ENCODER, HEAD)},
    "two inputs are called": {"inputs": (ModelInput(X), ModelInput(X))},
    "which nothing makes": {"outputs": {"y": "head.z"}},
    "has no range": {"axes": {}},
    "indicates 'z', which is none": {"inputs": (ModelInput(X, indicates="z"),)},
    "nothing makes it": {"substitutes": {"head.z": Substitute(Y)}},
    "impossible dtype": {"components": (ENCODER, BAD_HEAD)},
    "impossible dtype or shape": {"substitutes": {"x": Substitute(changed(X, shape=(-1,)))}},
}


@pytest.mark.parametrize("problem", WRONG)
def test_a_contradiction_is_told(problem: str) -> None:
    with pytest.raises(ProjectError, match=problem):
        changed(WIRING, **WRONG[problem]).check()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"decoder": "head"}, "'head' is not a component"),
        ({"token_input": "ids"}, "has no ids"),
        ({"logits_output": "logits"}, "has no logits"),
        ({"cache": {"past": "future"}}, "has no future"),
        ({"cache": {"post": "present"}}, "has no post"),
        ({"start_token_ids": ()}, "nothing to begin with"),
        ({"mask_input": "mask"}, "has no mask"),
        ({"token_types_input": "past"}, "or for neither"),
        ({"prompt_token_types": "x"}, "or for neither"),
        ({"position_input": "position_ids"}, "has no position_ids"),
        ({"cache_position_input": "places"}, "has no places"),
        ({"prompt": "encoder.ids"}, r"reads 'encoder\.ids', which nothing makes"),
        ({"encoder_ids": "ids"}, "reads 'ids', which nothing makes"),
        ({"prompt_embeddings": "encoder.h"}, "nothing embeds the new tokens"),
        ({"embed": "embed_tokens"}, "'embed_tokens' is not a component"),
        ({"embed": "decoder"}, "'decoder' is not a component"),
        ({"capacity": 16}, "needs a cache_position_input"),
        ({"capacity": 16, "cache_position_input": "h"}, "no axis of the declared capacity"),
    ],
)
def test_a_decoder_has_what_generation_needs(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ProjectError, match=problem):
        changed(GENERATING, generation=changed(GENERATION, **fields)).check()


def test_an_embedding_may_be_for_the_new_tokens_alone() -> None:
    """Its input needs no binding; then nothing but the loop can use what it makes."""
    ids = TensorSpec("ids", "int64", ("batch", "length"))
    embed = ComponentSpec("embed_tokens", "text", (ids,), (H,), {})
    wiring = changed(
        GENERATING,
        components=(embed, *GENERATING.components),
        generation=changed(GENERATION, embed="embed_tokens"),
    )
    wiring.check()
    with pytest.raises(ProjectError, match="which nothing makes"):
        changed(wiring, outputs={"h": "embed_tokens.h"}).check()
    two = changed(embed, inputs=(ids, changed(ids, name="more")))
    with pytest.raises(ProjectError, match="no function of the tokens"):
        changed(wiring, components=(two, *GENERATING.components)).check()


def test_it_survives_json() -> None:
    for wiring in (WIRING, GENERATING):
        assert msgspec.json.decode(msgspec.json.encode(wiring), type=Wiring) == wiring


def test_axes_of_inputs_can_be_resized() -> None:
    inputs = {"x": np.arange(8, dtype="float32").reshape(2, 4)}
    longer = resize_axis(inputs, [X, TOKENS], axis="batch", size=5)
    assert longer["x"][:, 0].tolist() == [0, 4, 0, 4, 0]
    assert resize_axis(inputs, [X], axis="batch", size=1)["x"].tolist() == [[0, 1, 2, 3]]
    assert axis_size(longer, [X], "batch") == 5
    with pytest.raises(KeyError):
        axis_size(longer, [X], "length")
    assert other_sizes(2, Axis(1, 1, 64)) == (3, 4)
    assert other_sizes(4, Axis(1, 1, 4)) == (3, 2)
    assert other_sizes(4, Axis(4, 4, 4)) == ()
    assert other_sizes(8, Axis(4, 4, 64, step=4)) == (12, 16)
    assert other_sizes(12, Axis(4, 4, 12, step=4)) == (8,)


def test_indicators_say_present_unless_they_are_given() -> None:
    heard = ModelInput(TensorSpec("heard", "bool", ("batch",)), "indicator", indicates="sound")
    seen = ModelInput(TensorSpec("seen", "float32", ("batch", 1)), "indicator", indicates="x")
    sound = ModelInput(TensorSpec("sound", "float32", ("batch", 2)), optional=True)
    given = {"x": np.zeros((3, 4), np.float32), "seen": np.zeros((3, 1), np.float32)}
    filled = with_indicators((ModelInput(X), sound, heard, seen), given)
    assert list(filled) == ["x", "seen", "heard"], "an input that is not there stays away"
    assert filled["seen"] is given["seen"]
    assert filled["heard"].dtype == bool
    assert filled["heard"].tolist() == [True] * 3
    assert "heard" not in given
