"""Axes as people read them: no symbol of the exporter is left, and nothing else changes."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mmedge.generation import Generation
from mmedge.readable_axes import with_readable_axes
from mmedge.tensors import TensorSpec
from mmedge.wiring import ComponentSpec, ModelInput, Wiring


def spec(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, "float32", shape)


IMAGE = ModelInput(spec("image", "batch", "images", 3))
ENCODER = ComponentSpec(
    "encoder",
    "image",
    (spec("image", "batch", "images", 3),),
    (spec("features", "batch", "4*images", 8), spec("found", "batch", "u0"), spec("at", "u0")),
    {"image": "image"},
)
DECODER = ComponentSpec(
    "decoder",
    "text",
    (spec("ids", "batch", "new"), spec("past.key", "batch", 2, "past", 8)),
    (spec("logits", "batch", 1, 9), spec("present.key", "batch", 2, "s0 + s21", 8)),
    {},
)
WIRING = Wiring(
    inputs=(IMAGE,),
    components=(ENCODER, DECODER),
    outputs={"tokens": "decoder.tokens"},
    generation=Generation(
        decoder="decoder",
        token_input="ids",
        logits_output="logits",
        cache={"past.key": "present.key"},
        start_token_ids=(0,),
        end_token_ids=(1,),
        pad_token_id=0,
        max_new_tokens=3,
    ),
)


def outputs(wiring: Wiring) -> dict[str, tuple[int | str, ...]]:
    return {o.name: o.shape for c in wiring.components for o in c.outputs}


def test_a_cache_that_grew_is_past_and_new() -> None:
    assert outputs(with_readable_axes(WIRING))["present.key"] == ("batch", 2, "past + new", 8)


def test_a_symbol_is_named_once_and_declared_axes_stay() -> None:
    found = outputs(with_readable_axes(WIRING))
    assert found["features"] == ("batch", "4*images", 8)
    assert (found["found"], found["at"]) == (("batch", "found_1"), ("found_1",))


@given(symbol=st.from_regex(r"[su][0-9]{1,3}( \+ [su][0-9]{1,2})?", fullmatch=True))
def test_no_symbol_is_left(symbol: str) -> None:
    odd = msgspec.structs.replace(DECODER, outputs=(spec("present.key", "batch", 2, symbol, 8),))
    wiring = msgspec.structs.replace(WIRING, components=(ENCODER, odd))
    found = with_readable_axes(wiring)
    assert symbol not in str(outputs(found))
    assert found.components[1].inputs == DECODER.inputs
    assert with_readable_axes(found) == found
