"""Engines that a device has no memory for are refused, where that can be known before they are."""

from __future__ import annotations

import msgspec
import pytest

from mmedge.artifact import EngineFile
from mmedge.backends.device_memory import Buffers, buffers_of, check_buffers, check_fits
from mmedge.engine_plan import EnginePlan, Range
from mmedge.errors import BuildError
from mmedge.targets import Fact, load_target
from mmedge.tensors import Axis, TensorSpec
from mmedge.wiring import ComponentSpec, ModelInput, Wiring

TARGET = load_target("rtx-3060-12g")
GB = 10**9
NOTHING = Buffers(0, 0)
PICTURE = TensorSpec("image", "float32", ("batch", 3, 56, 56))
ENCODER = ComponentSpec(
    "encoder",
    "image",
    (PICTURE,),
    (
        TensorSpec("features", "float16", ("batch", "2*batch + 1")),
        TensorSpec("boxes", "float32", ("found", 4)),
    ),
    {"image": "image"},
)
WIRING = Wiring(
    inputs=(ModelInput(PICTURE),),
    components=(ENCODER,),
    outputs={"features": "encoder.features"},
    axes={"batch": Axis(1, 1, 10**9)},
)


def engine(**memory: int) -> EngineFile:
    return EngineFile("tensorrt", "x.engine", "fp32", {}, 1, memory=memory)


def plans(*batches: int) -> dict[str, EnginePlan]:
    profiles = tuple({"batch": Range(1, 1, batch)} for batch in batches)
    return {"encoder": EnginePlan("tensorrt", "tensorrt_rtx", "fp32", profiles, "8.6")}


def with_memory(value: float | str) -> object:
    return msgspec.structs.replace(TARGET, facts={"memory_bytes": Fact(value, "somebody")})


def test_engines_that_fit() -> None:
    engines = {"a": engine(weights_bytes=5 * GB), "b": engine(activations_bytes=6 * GB)}
    check_fits(engines, TARGET, buffers={"a": NOTHING, "b": Buffers(GB, GB)})


def test_together_they_must_fit() -> None:
    engines = {
        "encoder": engine(weights_bytes=2 * GB, activations_bytes=1 * GB),
        "decoder": engine(weights_bytes=3 * GB, activations_bytes=7 * GB),
    }
    buffers = {"encoder": NOTHING, "decoder": Buffers(GB, GB // 2)}
    with pytest.raises(BuildError, match="more memory than NVIDIA GeForce RTX 3060") as caught:
        check_fits(engines, TARGET, buffers=buffers)
    text = str(caught.value)
    assert "encoder 3 GB, decoder 11 GB" in text
    assert "12.9 GB" in text
    assert "7 GB of 'decoder' are activations" in text
    assert "1 GB its inputs and outputs" in text
    assert "--shape" in text


def test_activations_below_one_input_are_not_believed() -> None:
    """A builder that counts in 32 bits told 1.6 GB of 135."""
    engines = {"encoder": engine(activations_bytes=GB)}
    check_fits(engines, TARGET, buffers={"encoder": Buffers(8 * GB, 4 * GB)})
    with pytest.raises(BuildError, match="more memory"):
        check_fits(engines, TARGET, buffers={"encoder": Buffers(8 * GB, 5 * GB)})


def test_buffers_are_those_of_the_largest_profile() -> None:
    picture, features = 10 * 3 * 56 * 56 * 4, 10 * 21 * 2
    found = buffers_of(ENCODER, plans(2, 10, 3)["encoder"].profiles)
    assert found == Buffers(picture + features, picture)


def test_a_component_without_inputs_has_no_largest() -> None:
    silent = msgspec.structs.replace(ENCODER, inputs=(), outputs=())
    assert buffers_of(silent, ({},)) == NOTHING


def test_buffers_alone_may_be_too_much() -> None:
    check_buffers(WIRING, plans(1000), TARGET)
    with pytest.raises(BuildError, match="inputs and outputs of the engines alone") as caught:
        check_buffers(WIRING, plans(8, 10**6), TARGET)
    assert "encoder 4.04 TB" in str(caught.value)
    assert "12.9 GB together" in str(caught.value)
    assert "batch=1000000: give smaller ones, --shape" in str(caught.value)


def test_small_memories_are_told_in_their_units() -> None:
    with pytest.raises(BuildError) as caught:
        check_buffers(WIRING, plans(1), with_memory(1000))
    assert "encoder 37.6 kB" in str(caught.value)
    assert "1 kB together (somebody)" in str(caught.value)


@pytest.mark.parametrize("facts", [{}, {"memory_bytes": Fact("much", "somebody")}])
def test_nothing_is_checked_where_nothing_is_known(facts: dict[str, Fact]) -> None:
    unknown = msgspec.structs.replace(TARGET, facts=facts)
    check_fits({"a": engine(weights_bytes=10**15)}, unknown, buffers={"a": NOTHING})
    check_fits({"a": engine()}, TARGET, buffers={"a": NOTHING})
    check_buffers(WIRING, plans(10**9), unknown)
