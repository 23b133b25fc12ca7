"""Which passes are run is data of the target."""

from __future__ import annotations

import pytest

from mmedge.capabilities import capabilities, read_table
from mmedge.graph.passes import DEFAULT_PASSES, LEGALIZING_PASSES, TARGET_PASSES, chosen
from mmedge.targets import TensorRTSettings


def names(passes: object) -> list[str]:
    return [type(item).__name__ for item in passes]  # type: ignore[attr-defined]


def test_without_a_table_nothing_is_left_out_or_added() -> None:
    assert chosen(DEFAULT_PASSES, None, TARGET_PASSES) == DEFAULT_PASSES


@pytest.mark.parametrize("library", ["tensorrt", "tensorrt_rtx"])
def test_every_pass_that_a_table_names_exists_once(library: str) -> None:
    known = names([*DEFAULT_PASSES, *LEGALIZING_PASSES])
    for row in read_table(library).passes:
        assert set(row.leave_out) <= set(known)
        assert set(row.add) <= set(names(TARGET_PASSES))


def test_the_cache_stays_outside_of_attention_that_has_none() -> None:
    table = capabilities(TensorRTSettings("tensorrt_rtx", "1.7", "8.6"))
    left = names(chosen(DEFAULT_PASSES, table))
    assert left == [name for name in names(DEFAULT_PASSES) if name != "CacheInAttention"]


def test_a_version_decides() -> None:
    def added(version: str) -> list[str]:
        table = capabilities(TensorRTSettings("tensorrt", version, "8.7"))
        return names(chosen((), table, TARGET_PASSES))

    assert "BareScatterND" in added("10.3")
    assert "BareScatterND" not in added("10.9")
    assert "ScatterAddAsSum" in added("10.3")
    assert "ScatterAddAsSum" in added("10.9")
