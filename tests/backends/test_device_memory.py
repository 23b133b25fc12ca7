"""Engines that a device has no memory for are refused where they are built."""

from __future__ import annotations

import msgspec
import pytest

from mmedge.artifact import EngineFile
from mmedge.backends.device_memory import check_fits
from mmedge.errors import BuildError
from mmedge.targets import Fact, load_target

TARGET = load_target("rtx-3060-12g")
GB = 10**9


def engine(**memory: int) -> EngineFile:
    return EngineFile("tensorrt", "x.engine", "fp32", {}, 1, memory=memory)


def test_engines_that_fit() -> None:
    check_fits({"a": engine(weights_bytes=5 * GB), "b": engine(activations_bytes=6 * GB)}, TARGET)


def test_together_they_must_fit() -> None:
    engines = {
        "encoder": engine(weights_bytes=2 * GB, activations_bytes=1 * GB),
        "decoder": engine(weights_bytes=3 * GB, activations_bytes=8 * GB),
    }
    with pytest.raises(BuildError, match="more memory than NVIDIA GeForce RTX 3060") as caught:
        check_fits(engines, TARGET)
    text = str(caught.value)
    assert "encoder 3.0 GB, decoder 11.0 GB" in text
    assert "12.9 GB" in text
    assert "8.0 GB of 'decoder' are activations" in text
    assert "--shape" in text


@pytest.mark.parametrize("facts", [{}, {"memory_bytes": Fact("much", "somebody")}])
def test_nothing_is_checked_where_nothing_is_known(facts: dict[str, Fact]) -> None:
    unknown = msgspec.structs.replace(TARGET, facts=facts)
    check_fits({"a": engine(weights_bytes=10**15)}, unknown)
    check_fits({"a": engine()}, TARGET)
