"""Optimization profiles follow from the axes of the model's inputs."""

from __future__ import annotations

import msgspec
import pytest

from mmedge.axis_shapes import narrowed_wiring, read_shapes
from mmedge.backends.tensorrt.ranges import component_ranges
from mmedge.engine_plan import Range
from mmedge.errors import BuildError, ProjectError
from mmedge.generated_axes import decided_axes
from mmedge.tensors import Axis, Dim, TensorSpec
from mmedge.wiring import ComponentSpec, Generation, ModelInput, Wiring


def tensor(name: str, *shape: Dim, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


ENCODER = ComponentSpec(
    "vision_encoder",
    "image",
    (tensor("pixel_values", "batch", "images", 3, 8, 8),),
    (tensor("image_features", "batch", "4*images", 16),),
    {"pixel_values": "pixel_values"},
)
EMBED = ComponentSpec(
    "embed_tokens",
    "text",
    (tensor("input_ids", "batch", "length", dtype="int64"),),
    (tensor("inputs_embeds", "batch", "length", 16),),
    {"input_ids": "input_ids"},
)
MERGE = ComponentSpec(
    "merge_features",
    "multimodal",
    (tensor("image_features", "batch", "features", 16), tensor("embeds", "batch", "length", 16)),
    (tensor("merged_embeds", "batch", "length", 16),),
    {"image_features": "vision_encoder.image_features", "embeds": "embed_tokens.inputs_embeds"},
)
DECODER = ComponentSpec(
    "decoder",
    "text",
    (
        tensor("inputs_embeds", "batch", "new", 16),
        tensor("attention_mask", "batch", "total", dtype="int64"),
        tensor("past.key", "batch", 2, "past", 8),
    ),
    (tensor("logits", "batch", "new", 12), tensor("present.key", "batch", 2, "total", 8)),
    {},
)
GENERATION = Generation(
    decoder="decoder",
    token_input="inputs_embeds",
    logits_output="logits",
    cache={"past.key": "present.key"},
    start_token_ids=(),
    end_token_ids=(2,),
    pad_token_id=0,
    max_new_tokens=10,
    prompt_embeddings="merge_features.merged_embeds",
    mask_input="attention_mask",
    embed="embed_tokens",
)
WIRING = Wiring(
    inputs=(
        ModelInput(tensor("pixel_values", "batch", "images", 3, 8, 8), "image"),
        ModelInput(tensor("input_ids", "batch", "length", dtype="int64"), "tensor"),
    ),
    components=(ENCODER, EMBED, MERGE, DECODER),
    outputs={"tokens": "decoder.tokens"},
    axes={
        "batch": Axis(1, 2, 8),
        "images": Axis(1, 5, 16),
        "length": Axis(4, 20, 64),
    },
    generation=GENERATION,
)


def test_declared_axes_are_taken_as_they_are() -> None:
    (profile,) = component_ranges(WIRING)["vision_encoder"]
    assert profile == {"batch": Range(1, 2, 8), "images": Range(1, 5, 16)}


def test_axes_inside_follow_from_the_declared_ones() -> None:
    (profile,) = component_ranges(WIRING)["merge_features"]
    assert profile["features"] == Range(4, 20, 64)


def test_a_decoder_has_a_profile_for_the_prompt_and_one_for_a_token() -> None:
    prompt, token = component_ranges(WIRING)["decoder"]
    assert (prompt["past"], prompt["new"]) == (Range(0, 0, 0), Range(4, 20, 64))
    assert prompt["total"] == prompt["new"]
    assert token["new"] == Range(1, 1, 1)
    assert token["past"] == Range(4, 24, 73)
    assert token["total"] == Range(5, 25, 74)


def test_the_embedding_takes_a_single_token_too() -> None:
    (profile,) = component_ranges(WIRING)["embed_tokens"]
    assert profile["length"] == Range(1, 20, 64)


def test_every_length_of_an_answer_is_in_a_profile() -> None:
    """From the shortest prompt to the last token behind the longest one, without a gap."""
    prompt, token = component_ranges(WIRING)["decoder"]
    for length in (prompt["new"].min, prompt["new"].max):
        for made in range(1, GENERATION.max_new_tokens):
            past = length + made - 1
            assert token["past"].min <= past <= token["past"].max
            assert token["total"].min <= past + 1 <= token["total"].max


def test_an_axis_of_unknown_sizes_is_named() -> None:
    strange = msgspec.structs.replace(
        ENCODER, outputs=(tensor("image_features", "batch", "s18", 16),)
    )
    wiring = msgspec.structs.replace(WIRING, components=(strange, EMBED, MERGE, DECODER))
    with pytest.raises(BuildError, match="axis 'features' of component 'merge_features'"):
        component_ranges(wiring)


def test_what_was_asked_for_is_what_profiles_have() -> None:
    shapes = {"images": (Range(1, 1, 1), Range(2, 4, 8))}
    found = component_ranges(WIRING, shapes)
    assert [p["images"] for p in found["vision_encoder"]] == [*shapes["images"]]
    assert [p["features"] for p in found["merge_features"]] == [Range(4, 4, 4), Range(8, 16, 32)]


def test_profiles_that_would_be_the_same_are_one() -> None:
    """Of a decoder that does not see the images, both ranges of which make the same sizes."""
    found = component_ranges(WIRING, {"images": (Range(1, 1, 1), Range(2, 4, 8))})
    assert len(found["decoder"]) == 2


def test_an_axis_inside_can_be_said() -> None:
    strange = msgspec.structs.replace(
        ENCODER, outputs=(tensor("image_features", "batch", "s18", 16),)
    )
    wiring = msgspec.structs.replace(WIRING, components=(strange, EMBED, MERGE, DECODER))
    found = component_ranges(wiring, {"features": (Range(4, 8, 16),)})
    assert found["merge_features"][0]["features"] == Range(4, 8, 16)


@pytest.mark.parametrize("axis", ["past", "new", "total"])
def test_an_axis_that_counts_the_decoders_tokens_is_not_shaped(axis: str) -> None:
    """Its sizes are the decoder's own: what was asked for would be passed over in silence."""
    with pytest.raises(ProjectError, match=f"axis '{axis}' cannot be shaped") as caught:
        narrowed_wiring(WIRING, read_shapes({axis: "1:10:20"}))
    assert caught.value.details["found"] == f"{axis}=1:10:20"
    assert caught.value.details["expected"] == "any of batch, images, length, features"
    assert "length of the prompt" in str(caught.value)


def test_what_is_shaped_instead_reaches_the_cache() -> None:
    shapes = read_shapes({"length": "8", "features": "1:8:64"})
    assert narrowed_wiring(WIRING, shapes)["length"] == Axis(8, 8, 8)
    _, token = component_ranges(WIRING, shapes)["decoder"]
    assert token["past"] == Range(8, 12, 17)


def test_an_axis_that_others_share_with_the_decoder_is_shaped() -> None:
    """A prompt that goes straight to the decoder: its new tokens are the model's input."""
    inputs = (tensor("inputs_embeds", "batch", "length", 16), *DECODER.inputs[1:])
    decoder = msgspec.structs.replace(DECODER, inputs=inputs)
    wiring = msgspec.structs.replace(WIRING, components=(ENCODER, EMBED, MERGE, decoder))
    assert decided_axes(wiring) == ["past", "total"]
    narrowed_wiring(wiring, read_shapes({"length": "8"}))


def test_a_model_that_generates_nothing_decides_nothing() -> None:
    assert decided_axes(msgspec.structs.replace(WIRING, generation=None)) == []
